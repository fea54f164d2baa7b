#!lua flags=allow-oom
-- Makes scheduled tasks that are due claimable, and takes a sample of the totals.
-- KEYS: s w m z l y t d c a e g k kw p x r
-- ARGV: limit
-- Reply: OK, now, next due time or 0, how many, next due time of the outbox or 0, 1 if there is
--   something to sweep
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
-- @include promote
-- @include samples
local count_promoted = promote(tonumber(ARGV[1]))
if #order > 0 or next(gone) or next(added) then flush() end
sample()
local function next_of(index)
  return tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or 0)
end
local todo = redis.call('HMGET', s, 'sweep', 'unpark')
local sweep = (todo[1] or todo[2]) and 1 or 0
return { 'OK', Q.now, next_of(z), count_promoted, next_of(x), sweep }
