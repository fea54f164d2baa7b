#!lua flags=no-writes
-- Lists ids of schedules in order.
-- KEYS: v
-- ARGV: id behind which to begin, what they begin with, how many, how many to look at, then terms
--   that each of them has
-- Reply: OK, id behind which to go on or '' at the end, ids
local after, prefix, most, budget = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local function range(term)
  local from = after ~= '' and '(' .. term .. after or '[' .. term .. prefix
  return from, '(' .. term .. prefix .. '\255'
end

-- The rarest one leads.
local lead, others, fewest = nil, {}, math.huge
for at = 5, #ARGV do
  local count = redis.call('ZLEXCOUNT', v, range(ARGV[at]))
  if count < fewest then lead, fewest = ARGV[at], count end
end
for at = 5, #ARGV do
  if ARGV[at] ~= lead then others[#others + 1] = ARGV[at] end
end
local reply, more = { 'OK', '' }
repeat
  local from, to = range(lead)
  local found = redis.call('ZRANGEBYLEX', v, from, to, 'LIMIT', 0, 100)
  for _, member in ipairs(found) do
    after = member:sub(#lead + 1)
    local is_one = true
    for _, term in ipairs(others) do
      is_one = is_one and redis.call('ZSCORE', v, term .. after)
    end
    if is_one then reply[#reply + 1] = after end
    if #reply - 2 == most then break end
  end
  budget, more = budget - #found, #found == 100 or #reply - 2 >= most
until not more or #reply - 2 >= most or budget <= 0
if more then reply[2] = after end
return reply
