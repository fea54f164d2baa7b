#!lua flags=allow-oom
-- Tells what is still leased by a claim whose reply was lost, and that it is to lease nothing if it
-- comes yet.
-- KEYS: s m h
-- ARGV: server, number of the claim, number of this call
-- Reply: OK, now, then id and fence of each
-- @include queue
-- @include rows
-- @include receipts
local server, claim, number = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local receipt, ids, reply = redis.call('HGET', h, server .. '+'), {}, { 'OK', Q.now }
if not outdated(server, number) then redis.call('HSET', h, server, number) end
if receipt and struct.unpack('>I8', receipt) == claim then
  local first = struct.unpack('>I8', receipt, 9)
  for at = 17, #receipt, 7 do ids[#ids + 1] = receipt:sub(at, at + 6) end
  for i, row in ipairs(read_rows(ids)) do
    if row and row[STATE] == IN_PROGRESS and row[FENCE] == first + i - 1 then
      reply[#reply + 1], reply[#reply + 2] = ids[i], row[FENCE]
    end
  end
end
return reply
