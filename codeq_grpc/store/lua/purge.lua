#!lua flags=allow-oom
-- Cancels every task that is neither leased nor ended, by a mark: rows unchanged since read as
-- CANCELLED. The clock moves past it, so that nothing later falls under it.
-- KEYS: s m z l y t d c a
-- ARGV: none
-- Reply: OK, now, how many
-- @include queue
-- @include totals
local number = unended() - redis.call('ZCARD', l)
local scheduled, blocked = redis.call('ZCARD', z), redis.call('ZCARD', y)
local held = redis.call('HLEN', m) - redis.call('ZCARD', l)
for _, index in ipairs({ t, d, c, a }) do held = held - redis.call('ZCARD', index) end
redis.call('HSET', s, 'purged', Q.now, 'clk', (Q.now + 1 - EPOCH) * 4096, 'sweep', '0',
  'purging1', blocked, 'purging2', scheduled, 'purging3', held - scheduled - blocked)
return { 'OK', Q.now, number }
