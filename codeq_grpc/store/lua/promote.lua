#!lua flags=allow-oom
-- Makes scheduled tasks that are due claimable.
-- KEYS: s w m z r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
-- ARGV: limit
-- Reply: OK, now, next due time or 0, how many
-- @include clock
-- @include rows
-- @include push
-- @include promote
-- @include wake
local s, w, m, z = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local _, now = read_clock(s)
local function list(priority) return KEYS[5 + priority] end
local count = promote(z, m, list, now, tonumber(ARGV[1]))
wake(w, count)
return { 'OK', now, tonumber(redis.call('ZRANGE', z, 0, 0, 'WITHSCORES')[2] or 0), count }
