-- Appends to a table of tables.
local function push(groups, key, value)
  local group = groups[key]
  if not group then
    group = {}
    groups[key] = group
  end
  group[#group + 1] = value
end
