"""What runs in the server, each in one atomic step. All keys of a namespace have one hash tag.

    holdfast:{NAMESPACE}                 a hash: the floor, and under which incarnation of the server it was set
    holdfast:{NAMESPACE}:record:NAME     a revision, the kind of its additions ("-" if it may not have any), who is told
                                         of them ("-": nobody), each with a space behind it; then the text with them
    holdfast:{NAMESPACE}:names           a sorted set: each name, with the server's time of its last change in µs
    holdfast:{NAMESPACE}:session:ID      the number of its connection, a space, and who it is, in JSON; expires when it
                                         was not renewed for its ttl
    holdfast:{NAMESPACE}:evicted         a sorted set: the server's time in µs at which somebody has ended a
                                         session, a space, and what is kept of it; by that time
    holdfast:{NAMESPACE}:wake:ID         the channel on which it is woken

A revision is never used for two texts, whatever becomes of the server's data: its last part is the session's own. An
addition, a row of its own behind the text, leaves it as it is. So the text of a revision may grow, and who knows the
revision and the length knows the text. A session that connects anew numbers its connection before it asks for
anything, and from then on no request is done any more that was on its way on an older one.

The incarnation is the replication id, which is another one after each start of a server and each promotion of a
replica. Whoever runs a script first in a new one raises the floor to the server's microseconds since 1970, faster than
which nobody grants.
"""

from __future__ import annotations

from hashlib import sha1

SMALL = 8192
"""Bytes of a text that is sent along with a wake-up, at most."""

_LOOK_AROUND = """
local now = redis.call('TIME')
local time = now[1] .. string.format('%06d', now[2])
local here = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local before, floor = unpack(redis.call('HMGET', KEYS[1], 'incarnation', 'floor'))
if before ~= here then
    if not floor or tonumber(floor) < tonumber(time) then floor = time end
    redis.call('HSET', KEYS[1], 'incarnation', here, 'floor', floor)
end
local function get(key)
    local found = redis.pcall('GET', key)
    if type(found) ~= 'table' then return found or '' end
    local kind = redis.call('TYPE', key).ok
    return kind == 'string' and redis.call('GET', key) or '(not a text, but of the type ' .. kind .. ')'
end
"""


class Script:
    def __init__(self, body: str) -> None:
        self.source = _LOOK_AROUND + body
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


SWAP = Script(
    """
-- KEYS: the namespace, the record, the names, the session, those that are dead.
-- ARGV: the incarnation and the number of the connection; the floor, the revision and the length that the session
--       knows; name, new revision, new text, the kind of its additions, who is told of them, and whether it may have
--       those that the session does not know, or ''; the floor that goes with it if the record is to be removed, or '';
--       an addition that will do as well, or '', its kind, the head of the message that tells of it, and whether it is
--       better than the change, or ''; then sessions and heads of messages.
-- Returns, in one text of many lines, what has come of it, the incarnation, the floor, the time, and what is stored
-- or of that, when the change is made, what the session does not know.
local function answer(outcome, stored) return table.concat({outcome, here, floor, time, stored or ''}, '\\n') end
if here ~= ARGV[1] then return answer('another incarnation') end
local session = redis.call('GET', KEYS[4])
if not session then return answer('dead') end
if string.match(session, '^%d+') ~= ARGV[2] then return answer('another connection') end
for i = 5, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 1 then return answer('not all dead') end
end
local function tell(who, head, stored)
    if #stored > SMALL then stored = '' end
    redis.pcall('PUBLISH', KEYS[1] .. ':wake:' .. who, head .. stored)
end
local stored = get(KEYS[2])
if stored == '' and redis.call('ZSCORE', KEYS[3], ARGV[6]) then  -- removed by hand: it goes on above its last token
    floor = time
    redis.call('ZREM', KEYS[3], ARGV[6])
    redis.call('HSET', KEYS[1], 'floor', floor)
end
local revision, kind, told, start = string.match(stored, '^(%S*) (%S*) (%S*) ()')
local may_add = ARGV[13] ~= '' and kind == ARGV[14]
local unknown = string.sub(stored, (start or 1) + ARGV[5])
local is_known = (floor == ARGV[3] or ARGV[12] ~= '') and (revision or '') == ARGV[4]
is_known = is_known and (unknown == '' or ARGV[11] ~= '')
if may_add and (ARGV[16] ~= '' or not is_known) then
    stored = table.concat({stored, '\\n', time, ' ', ARGV[13]})
    redis.call('SET', KEYS[2], stored)
    redis.call('ZADD', KEYS[3], time, ARGV[6])
    if told ~= '-' and KEYS[4] ~= KEYS[1] .. ':session:' .. told then tell(told, ARGV[15], stored) end
    return answer('added', stored)
end
if not is_known then return answer('changed', stored) end
if ARGV[12] ~= '' then
    if tonumber(ARGV[12]) > tonumber(floor) then
        floor = ARGV[12]
        redis.call('HSET', KEYS[1], 'floor', floor)
    end
    redis.call('DEL', KEYS[2])
    redis.call('ZREM', KEYS[3], ARGV[6])
    return answer('done')
end
stored = table.concat({ARGV[7], ARGV[9], ARGV[10], ARGV[8] .. unknown}, ' ')
redis.call('SET', KEYS[2], stored)
redis.call('ZADD', KEYS[3], time, ARGV[6])
for i = 17, #ARGV, 2 do tell(ARGV[i], ARGV[i + 1], stored) end
return answer('done', unknown)
""".replace("SMALL", str(SMALL))
)
"""The only one that changes a record, for every primitive."""

LOOK = Script("""
-- KEYS: the namespace, the session, then records, then sessions.
-- ARGV: the milliseconds to live on, or 0 to look only; then the revision and the length of each record that are known.
-- Returns whether the session lives, the incarnation, the floor, the time, what is stored where that is another
-- text (else false), and how many milliseconds each session will live (below 0: it is dead).
local alive
if ARGV[1] == '0' then alive = redis.call('EXISTS', KEYS[2]) else alive = redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
local texts, lives = {}, {}
for i = 2, #ARGV, 2 do
    local stored = get(KEYS[i / 2 + 2])
    local revision, start = string.match(stored, '^(%S*) %S* %S* ()')
    local is_known = (revision or '') == ARGV[i] and #stored - (start or 1) + 1 == tonumber(ARGV[i + 1])
    texts[i / 2] = not is_known and stored
end
for i = (#ARGV - 1) / 2 + 3, #KEYS do lives[#lives + 1] = redis.call('PTTL', KEYS[i]) end
return {alive, here, floor, time, texts, lives}
""")

EVICT = Script("""
-- KEYS: the namespace, the session, the one that is to end, the evictions.
-- ARGV: what is to be kept of it, for how many microseconds, of how many at most, and its channel.
-- Returns what has come of it, the incarnation, the floor and the time.
local outcome = 'not there'
if redis.call('EXISTS', KEYS[2]) == 0 then
    outcome = 'dead'
elseif redis.call('DEL', KEYS[3]) == 1 then
    outcome = 'done'
    redis.call('ZADD', KEYS[4], time, time .. ' ' .. ARGV[1])
    local function forget(...)
        for _, note in ipairs(redis.call('ZRANGE', KEYS[4], ...)) do redis.call('ZREM', KEYS[4], note) end
    end
    forget('-inf', string.format('%.0f', time - ARGV[2]), 'BYSCORE')
    forget(0, -1 - ARGV[3])
    redis.call('PEXPIRE', KEYS[4], math.ceil(tonumber(ARGV[2]) / 1000))
    redis.pcall('PUBLISH', ARGV[4], cjson.encode({here, '', 'look'}) .. '\\n')
end
return {outcome, here, floor, time}
""")

TRY = Script("""
-- KEYS: the namespace, the session, which is not there yet, a record that never is, the names.
-- ARGV: the channel of the session.
-- Tries all that is done in a namespace, in this script and elsewhere, and leaves nothing behind. Returns what the
-- server does not permit to this user, in its words.
local denied = {}
local function try(...)
    local done = redis.pcall(...)
    local said = type(done) == 'table' and done.err or ''
    if string.find(said, 'ACL') or string.find(said, 'permission') or string.find(said, 'executing the script') then
        denied[#denied + 1] = said
    end
end
try('HSET', KEYS[1], 'incarnation', here)
for i = 2, 3 do
    try('GET', KEYS[i])
    try('SET', KEYS[i], '', 'PX', 1000)
    try('TYPE', KEYS[i])
    try('EXISTS', KEYS[i])
    try('PEXPIRE', KEYS[i], 1000)
    try('PTTL', KEYS[i])
    try('MGET', KEYS[i])
    try('DEL', KEYS[i])
end
try('ZADD', KEYS[4], time, '')
try('ZSCORE', KEYS[4], '')
try('ZRANGE', KEYS[4], 0, 0)
try('ZREM', KEYS[4], '')
try('PUBLISH', ARGV[1], '')
return denied
""")
