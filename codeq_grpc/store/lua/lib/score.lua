-- Scores as text: redis.call would print every number with 17 digits.
local function score(time)
  return string.format('%.0f', time)
end
