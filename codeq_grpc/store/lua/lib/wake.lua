-- Tells up to `count` servers that wait for this queue, longest waiting first. One that no longer
-- listens does not count. The message is the name of the key that they wait in. Needs w.
local function wake(count)
  while count > 0 do
    local server = redis.call('ZPOPMIN', w)[1]
    if not server then return end
    if redis.call('PUBLISH', 'codeq:wake:' .. server, w) > 0 then count = count - 1 end
  end
end
