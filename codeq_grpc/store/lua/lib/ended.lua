-- Calls a function with each open firing that ARGV names, in steps of so many, its schedule's row
-- and where it stands in ARGV. Of those that are not open, what a call that broke off left goes.
local function each_open(step, visit)
  local names, ids = {}, {}
  for at = 1, #ARGV, step do names[#names + 1] = ARGV[at] end
  local firings = firings_named(names)
  for at, one in ipairs(firings) do ids[at] = one and one.id or '' end
  for at, row in ipairs(read_schedules(ids)) do
    local one = firings[at]
    one, row = one and changed[one.place] or one, written[ids[at]] or row
    if one and row and row.number ~= one.place:sub(1, 7) then row = false end
    if is_open(one) and row then
      visit(one, row, step * (at - 1) + 1)
    elseif one then
      close(one, row)
    else
      owing[names[at]] = false
    end
  end
end
