-- Keeps the attempts that end, the last 20 of each task: `>I2` length of the rest, `>BBI8I8I8I2`
-- number, ending, fence, start, end, length of the worker; it and the error. Needs o.
-- Without what an aborted script kept of the same claim, and without the oldest of 20.
local function earlier(history, fence)
  local number, at, last = 0, 1, 1
  while at <= #history do
    number, last, at = number + 1, at, at + 2 + struct.unpack('>I2', history, at)
  end
  if number > 0 and struct.unpack('>I8', history, last + 4) == fence then
    return history:sub(1, last - 1)
  end
  return number < 20 and history or history:sub(3 + struct.unpack('>I2', history))
end

local function record(row, ending, problem)
  local _, _, start, _, worker = claim_of(row)
  local head = struct.pack('>BBI8I8I8I2', row[ATTEMPT], ending, row[FENCE], start, Q.now, #worker)
  return struct.pack('>I2', #head + #worker + #problem) .. head .. worker .. problem
end

-- `ended` are groups of three: id, row, record.
local function keep_history(ended)
  local names, known = {}, {}
  for i = 1, #ended, 3 do
    if has(ended[i + 1], HAS_HISTORY) then names[#names + 1] = ended[i] .. 'a' end
  end
  if #names > 0 then
    for i, history in ipairs(redis.call('HMGET', o, unpack(names))) do known[names[i]] = history end
  end
  for i = 1, #ended, 3 do
    local name = ended[i] .. 'a'
    put(fields, o, name, earlier(known[name] or '', ended[i + 1][FENCE]) .. ended[i + 2])
    set_flag(ended[i + 1], HAS_HISTORY, true)
  end
end
