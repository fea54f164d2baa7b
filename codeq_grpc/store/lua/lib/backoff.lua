-- Delay after a failed attempt, as core/retry.py has it; `u` is uniform in [0, 1). What the task's
-- own policy leaves unset comes from the queue's, and then from the server's.
local function backoff(own, server, attempt, u)
  local value = { struct.unpack('>I4I4dd', server) }
  for _, policy in ipairs({ Q.policy, own }) do
    if policy ~= '' then
      local given = { struct.unpack('>I4I4dd', policy) }
      for i = 1, 4 do
        if given[i] >= 0 and given[i] < 4294967295 then value[i] = given[i] end
      end
    end
  end
  local grown = math.min(value[2], value[1] * value[3] ^ (attempt - 1))
  return math.floor(grown * (1 - value[4] * u))
end

-- Whether an error of this type is not to be retried, as the task or else its queue says.
local function is_hopeless(row, kind)
  local types = fixed(row).types
  if types == '' then types = Q.types end
  return kind ~= '' and types:find('\0' .. kind .. '\0', 1, true) ~= nil
end
