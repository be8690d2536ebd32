"""What runs in the server, each in one atomic step. All keys of a namespace have one hash tag.

    holdfast:{NAMESPACE}                 a hash: the floor, and under which incarnation of the server it was set
    holdfast:{NAMESPACE}:record:NAME     a revision, a space, the text
    holdfast:{NAMESPACE}:names           a sorted set: each name, with the server's time of its last change in µs
    holdfast:{NAMESPACE}:session:ID      who it is, in JSON; expires when it was not renewed for its ttl
    holdfast:{NAMESPACE}:wake:ID         the channel on which it is woken

A revision is never used for two texts, whatever becomes of the server's data: its last part is the session's own. The
incarnation is the replication id, which is another one after each start of a server and each promotion of a replica.
Whoever runs a script first in a new one raises the floor to the server's microseconds since 1970, faster than
which nobody grants.
"""

from __future__ import annotations

from hashlib import sha1

_LOOK_AROUND = """
local now = redis.call('TIME')
local time = now[1] .. string.format('%06d', now[2])
local here = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local before, floor = unpack(redis.call('HMGET', KEYS[1], 'incarnation', 'floor'))
if before ~= here then
    if not floor or tonumber(floor) < tonumber(time) then floor = time end
    redis.call('HSET', KEYS[1], 'incarnation', here, 'floor', floor)
end
"""


class Script:
    def __init__(self, body: str) -> None:
        self.source = _LOOK_AROUND + body
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


SWAP = Script("""
-- KEYS: the namespace, the record, the names, the session, those that are dead.
-- ARGV: the incarnation, the floor and the revision that the session knows; name, new revision, new text; the floor
--       that goes with it if the record is to be removed; 'with text' if messages carry it; then channels and messages.
-- Returns what has come of it, the incarnation, the floor, the time, and what is stored if that is not as expected.
local function answer(outcome, stored) return {outcome, here, floor, time, stored or ''} end
if here ~= ARGV[1] then return answer('another incarnation') end
if redis.call('EXISTS', KEYS[4]) == 0 then return answer('dead') end
for i = 5, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 1 then return answer('not all dead') end
end
local stored = redis.call('GET', KEYS[2]) or ''
if floor ~= ARGV[2] or string.match(stored, '^%S*') ~= ARGV[3] then return answer('changed', stored) end
if ARGV[7] ~= '' then
    if tonumber(ARGV[7]) > tonumber(floor) then
        floor = ARGV[7]
        redis.call('HSET', KEYS[1], 'floor', floor)
    end
    redis.call('DEL', KEYS[2])
    redis.call('ZREM', KEYS[3], ARGV[4])
    return answer('done')
end
redis.call('SET', KEYS[2], ARGV[5] .. ' ' .. ARGV[6])
redis.call('ZADD', KEYS[3], time, ARGV[4])
local text = ''
if ARGV[8] ~= '' then text = ARGV[6] end
for i = 9, #ARGV, 2 do redis.pcall('PUBLISH', ARGV[i], ARGV[i + 1] .. text) end
return answer('done')
""")
"""The only one that changes a record, for every primitive."""

LOOK = Script("""
-- KEYS: the namespace, the session, then records, then sessions.
-- ARGV: the milliseconds to live on, or 0 to look only; then the known revision of each record.
-- Returns whether the session lives, the incarnation, the floor, the time, what is stored where that is another
-- revision (else false), and how many milliseconds each session will live (below 0: it is dead).
local alive
if ARGV[1] == '0' then alive = redis.call('EXISTS', KEYS[2]) else alive = redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
local texts, lives = {}, {}
for i = 2, #ARGV do
    local stored = redis.call('GET', KEYS[i + 1]) or ''
    texts[i - 1] = string.match(stored, '^%S*') ~= ARGV[i] and stored
end
for i = #ARGV + 2, #KEYS do lives[#lives + 1] = redis.call('PTTL', KEYS[i]) end
return {alive, here, floor, time, texts, lives}
""")
