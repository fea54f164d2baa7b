#!lua flags=allow-oom
-- Cancels every task that is neither leased nor ended, by a mark: rows unchanged since read as
-- CANCELLED. Until all are swept the queue's time stays past it, so that nothing later falls under
-- it; and it is no earlier than the numbers given, whatever the store's clock did since.
-- KEYS: s m z l y t d c a
-- ARGV: none
-- Reply: OK, now, how many
-- @include queue
-- @include totals
local number = unended() - redis.call('ZCARD', l)
local scheduled, blocked = redis.call('ZCARD', z), redis.call('ZCARD', y)
local held = redis.call('HLEN', m) - redis.call('ZCARD', l)
for _, index in ipairs({ t, d, c, a }) do held = held - redis.call('ZCARD', index) end
local mark = math.max(Q.now, math.floor((Q.first - 1) / 4096) + EPOCH)
redis.call('HSET', s, 'purged', mark, 'clk', (mark + 1 - EPOCH) * 4096, 'sweep', '0',
  'purging1', blocked, 'purging2', scheduled, 'purging3', held - scheduled - blocked)
return { 'OK', Q.now, number }
