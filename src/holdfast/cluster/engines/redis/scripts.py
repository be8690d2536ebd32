"""The scripts that run in the server, each in one atomic step. `keys` says what is kept under which key.

Each script first looks around: at the server's time and incarnation, and at the namespace's floor, which it raises if
the incarnation is a new one.
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
    """A script, and the digest by which the server knows it."""

    def __init__(self, body: str) -> None:
        self.source = _LOOK_AROUND + body
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


SWAP = Script(
    """
-- KEYS: 1 the namespace, 2 the record, 3 the names, 4 the session, 5... the sessions that are dead.
-- ARGV: 1 the incarnation, and 2 the number of the connection;
--       3 the floor, 4 the revision and 5 the length that the session knows;
--       6 the name, 7 the new revision, 8 the new text, 9 the kind of its additions, 10 the session that is told of
--       them, and 11 whether it may have additions that the session does not know, or '';
--       12 the floor to keep if the record is to be removed, or '';
--       13 an addition that will do as well, or '', 14 its kind, 15 the head of the message that tells of it, and
--       16 whether it is better than the change, or '';
--       17... sessions and heads of messages.
-- Returns a text of many lines: the outcome, the incarnation, the floor, the time, and what is stored; or, if the
-- change was made, the additions that the session did not know.
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
if stored == '' and redis.call('ZSCORE', KEYS[3], ARGV[6]) then  -- removed by hand: its tokens go on above the last one
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
"""Changes a record: the only script that does, for every primitive."""

LOOK = Script("""
-- KEYS: the namespace, the session, then records, then sessions.
-- ARGV: the milliseconds to live on, or 0 to look only; then, of each record, the revision and length that are known.
-- Returns whether the session is alive, the incarnation, the floor, the time, for each record what is stored (false if
-- it is the known text), and for each session how many milliseconds it will live (below 0: it is dead).
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
-- KEYS: the namespace, the session, the session to end, the evictions.
-- ARGV: the note to keep, for how many microseconds, how many notes at most, and the channel of the session to end.
-- Returns the outcome, the incarnation, the floor and the time.
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
-- KEYS: the namespace, the session, which does not exist yet, a record that never exists, the names, the evictions.
-- ARGV: the channel of the session.
-- Tries everything that is done in a namespace, in scripts and elsewhere, and leaves nothing behind. Returns what the
-- server does not permit to this user, in the server's words.
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
local life = redis.pcall('PTTL', KEYS[5])
try('ZADD', KEYS[4], time, '')
try('ZADD', KEYS[5], time, '')
try('ZSCORE', KEYS[4], '')
try('PEXPIRE', KEYS[5], type(life) == 'number' and life > 0 and life or 1000)  -- notes are kept as long as before
for i = 4, 5 do
    try('ZRANGE', KEYS[i], 0, 0)
    try('ZREM', KEYS[i], '')
end
try('PUBLISH', ARGV[1], '')
return denied
""")
