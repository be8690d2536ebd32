"""The scripts that run in the server, each in one atomic step. `keys` says what is kept under which key.

Each script first looks around: at the server's time and incarnation, and at the namespace's floor, which it raises if
the incarnation is a new one.

The scripts that change a record are sent with every acquire and release, so they are given little. The record's key is
the only one that they are given, besides those of the dead: the others are made of it. What they answer when all is as
the session knows it is a number.
"""

from __future__ import annotations

import re
from hashlib import sha1

SMALL = 8192
"""Bytes of a text that is sent along with a wake-up, at most."""
INCARNATION = 8
"""So many characters of an incarnation tell it from others: 32 bits, which are drawn anew for each."""
DIGITS = 6
"""So many digits of the floor are compared where a text is known. Then the floor has risen because records were
removed, and a record that is there need not begin above it. Where no text is known, all digits are compared."""
DONE, ADDED = 1, 2
"""The answers of a script that has done what it was asked for, where the session has nothing to learn."""

_COMMENT = re.compile(r"^\s*--.*\n| +-- .*$", re.MULTILINE)

_LOOK_AROUND = """
local call, sub, match = redis.call, string.sub, string.match
local now = call('TIME')
local time = now[1] .. string.format('%06d', now[2])
local facts = call('INFO', 'replication')
local _, behind = string.find(facts, 'master_replid:', 1, true)  -- as a pattern, it takes twice as long to find
local here = match(facts, '^%w+', behind + 1)
local before, floor = unpack(call('HMGET', space, 'incarnation', 'floor'))
if before ~= here then
    if not floor or tonumber(floor) < tonumber(time) then floor = time end
    call('HSET', space, 'incarnation', here, 'floor', floor)
end
local function get(key)
    local found = redis.pcall('GET', key)
    if type(found) ~= 'table' then return found or '' end
    local kind = call('TYPE', key).ok
    return kind == 'string' and call('GET', key) or '(not a text, but of the type ' .. kind .. ')'
end
local function tell(who, name, message, stored)
    local head = table.concat({sub(here, 1, INCARNATION), #name, name .. #message, message}, ' ')
    redis.pcall('PUBLISH', space .. ':wake:' .. who, head .. stored)
end
"""

_MAY_CHANGE = """
local function answer(outcome, stored) return table.concat({outcome, here, floor, time, stored or ''}, '\\n') end
if sub(here, 1, #incarnation) ~= incarnation then return answer('another incarnation') end
local session = call('GET', space .. ':session:' .. me)
if not session then return answer('dead') end
if match(session, '^%d+') ~= number then return answer('another connection') end
local name, names, stored = sub(KEYS[1], length + #':record:' + 1), space .. ':names', get(KEYS[1])
if stored == '' and call('ZSCORE', names, name) then  -- removed by hand: its tokens go on above the last one
    floor = time
    call('ZREM', names, name)
    call('HSET', space, 'floor', floor)
end
"""


class Script:
    """A script, and the digest by which the server knows it."""

    def __init__(self, body: str, space: str = "local space = KEYS[1]", more: str = "") -> None:
        """space: Lua that says what the key of the namespace is. more: Lua that comes after looking around."""
        source = f"{space}{_LOOK_AROUND}{more}{body}"
        source = source.replace("INCARNATION", str(INCARNATION)).replace("SMALL", str(SMALL))
        self.source = _COMMENT.sub("", source)
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class ChangingScript(Script):
    """A script that changes a record.

    KEYS: the record, and perhaps more. ARGV: 1 what the session knows, with spaces in between: the first characters of
    the incarnation, the last digits of the floor, the number of its connection, its id, and the length of the
    namespace's key.
    """

    def __init__(self, body: str) -> None:
        knows = (
            "local incarnation, digits, number, me, length, asked = "
            "string.match(ARGV[1], '(%w+) (%d+) (%d+) (%S+) (%d+)(.*)')"
        )
        super().__init__(body, f"{knows}\nlocal space = string.sub(KEYS[1], 1, length)", _MAY_CHANGE)


SWAP = ChangingScript(
    """
-- KEYS: 1 the record, 2... the sessions that are dead.
-- ARGV: 1 as above. If an addition will do, that is all of it, and 2 is the addition. Otherwise the change follows,
--       again with spaces in between: the revision ('-': none) and the length that the session knows, the number of the
--       new revision, the kind of the new text's additions, the session that is told of them ('=': this one, '>': the
--       first one that is woken), how much of the known text stays at the head and how much at the tail, and whether
--       the text may have additions that the session does not know (1 or 0), with a plus if there is an addition, and
--       a tilde if ids are abbreviated;
--       2 what stands between head and tail. If ids are abbreviated, \\1 stands for the session, and \\2 for the first
--       one that is woken. Then the addition; then sessions, and the messages for them.
-- An addition: whether it is better than the change ('+'; '!' if the session needs not know to what it was added; '-'
-- if it is not better), its kind, a space, and its text without the session's id.
-- Returns DONE if it has made the change, with which additions behind it is not said; ADDED if it has made an addition
-- that needs no more. Else a text of many lines: the outcome, the incarnation, the floor, the time, and what is stored.
for i = 2, #KEYS do
    if call('EXISTS', KEYS[i]) == 1 then return answer('not all dead') end
end
local revision, kind, told, start = match(stored, '^(%S*) (%S*) (%S*) ()')
start = start or 1
local knows, known, makes, new_kind, new_told, head, tail, alike, plus, tilde =
    match(asked, '(%S+) (%d+) (%d+) (%S+) (%S+) (%d+) (%d+) (%d)(%+?)(~?)')
local is_known, unknown = false, ''
if knows then
    unknown = sub(stored, start + known)
    is_known = (revision or '-') == knows and (unknown == '' or alike == '1') and sub(floor, -#digits) == digits
end
local first = plus == '+' and 4 or 3
if not knows or plus == '+' then
    local flag, added, text = match(ARGV[first - 1], '(.)(%S+) (.*)')
    if added == kind and (flag ~= '-' or not is_known) then
        local row = table.concat({'\\n', time, ' ', me, text})
        call('SET', KEYS[1], stored .. row)
        call('ZADD', names, time, name)
        if told ~= '-' and told ~= me then
            tell(told, name, '', table.concat({'+', match(revision, '%d+'), ' ', #stored - start + 1, row}))
        end
        if flag == '!' then return ADDED end
        return answer('added', stored .. row)
    end
end
if not is_known then return answer('changed', stored) end
if new_told == '=' then new_told = me elseif new_told == '>' then new_told = ARGV[first] end
local text = ARGV[2]
if tilde == '~' then text = string.gsub(text, '[\\1\\2]', {['\\1'] = me, ['\\2'] = ARGV[first]}) end
if head ~= '0' then text = sub(stored, start, start + head - 1) .. text end
if tail ~= '0' then text = text .. sub(stored, start + known - tail, start + known - 1) end
makes, text = makes .. '.' .. me, text .. unknown
call('SET', KEYS[1], table.concat({makes, new_kind, new_told, text}, ' '))
call('ZADD', names, time, name)
if ARGV[first] then
    local row, rest = match(text, '^([^\\n]*)(.*)$')
    local sent = table.concat({makes, #row, sub(redis.sha1hex(row), 1, 8)}, ' ')
    for i = first, #ARGV, 2 do
        local others = tilde == '~' and tilde .. string.gsub(rest, ARGV[i], '\\1') or rest
        tell(ARGV[i], name, ARGV[i + 1], #text <= SMALL and sent .. others or '')
    end
end
return DONE
""".replace("DONE", str(DONE)).replace("ADDED", str(ADDED))
)
"""Changes a record, for every primitive."""

REMOVE = ChangingScript(
    """
-- KEYS: the record.
-- ARGV: 2 the revision ('-': none) and 3 the length that the session knows, 4 the floor to keep.
-- Returns DONE, or a text as SWAP does.
local revision, start = match(stored, '^(%S*) %S* %S* ()')
if (revision or '-') ~= ARGV[2] or sub(stored, (start or 1) + ARGV[3]) ~= '' then return answer('changed', stored) end
if tonumber(ARGV[4]) > tonumber(floor) then
    floor = ARGV[4]
    call('HSET', space, 'floor', floor)
end
call('DEL', KEYS[1])
call('ZREM', names, name)
return DONE
""".replace("DONE", str(DONE))
)
"""Removes a record. A record that was removed by hand is removed as well: its name goes."""

LOOK = Script("""
-- KEYS: the namespace, the session, then records, then sessions.
-- ARGV: the milliseconds to live on, or 0 to look only; then, of each record, the revision and length that are known.
-- Returns whether the session is alive, the incarnation, the floor, the time, for each record what is stored (false if
-- it is the known text), and for each session how many milliseconds it will live (below 0: it is dead).
local alive
if ARGV[1] == '0' then alive = call('EXISTS', KEYS[2]) else alive = call('PEXPIRE', KEYS[2], ARGV[1]) end
local texts, lives = {}, {}
for i = 2, #ARGV, 2 do
    local stored = get(KEYS[i / 2 + 2])
    local revision, start = string.match(stored, '^(%S*) %S* %S* ()')
    local is_known = (revision or '') == ARGV[i] and #stored - (start or 1) + 1 == tonumber(ARGV[i + 1])
    texts[i / 2] = not is_known and stored
end
for i = (#ARGV - 1) / 2 + 3, #KEYS do lives[#lives + 1] = call('PTTL', KEYS[i]) end
return {alive, here, floor, time, texts, lives}
""")

EVICT = Script("""
-- KEYS: the namespace, the session, the session to end, the evictions.
-- ARGV: the note to keep, for how many microseconds, how many notes at most, and the id of the session to end.
-- Returns the outcome, the incarnation, the floor and the time.
local outcome = 'not there'
if call('EXISTS', KEYS[2]) == 0 then
    outcome = 'dead'
elseif call('DEL', KEYS[3]) == 1 then
    outcome = 'done'
    call('ZADD', KEYS[4], time, time .. ' ' .. ARGV[1])
    local function forget(...)
        for _, note in ipairs(call('ZRANGE', KEYS[4], ...)) do call('ZREM', KEYS[4], note) end
    end
    forget('-inf', string.format('%.0f', time - ARGV[2]), 'BYSCORE')
    forget(0, -1 - ARGV[3])
    call('PEXPIRE', KEYS[4], math.ceil(tonumber(ARGV[2]) / 1000))
    tell(ARGV[4], '', 'look', '')
end
return {outcome, here, floor, time}
""")

FACTS = """
local facts = {}
for i, section in ipairs({'server', 'memory', 'cluster', 'replication'}) do facts[i] = redis.call('INFO', section) end
local found, all = {}, table.concat(facts, '\\n')
for _, each in ipairs({'redis_version', 'maxmemory_policy', 'cluster_enabled', 'role'}) do
    found[#found + 1] = string.match(all, '%f[%w_]' .. each .. ':[^\\r\\n]*')
end
return table.concat(found, '\\n')
"""
"""Returns what a session has to know of the server before it relies on it: of INFO, all of which is a hundred times as
long. It is sent as it is, which tries whether the user may do that: the server may not know the others any more."""

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
