-- Delay after a failed attempt, as core/retry.py has it; `u` is uniform in [0, 1).
local function backoff(policy, attempt, u)
  local initial, cap, multiplier, jitter = struct.unpack('>I4I4dd', policy)
  local grown = math.min(cap, initial * multiplier ^ (attempt - 1))
  return math.floor(grown * (1 - jitter * u))
end
