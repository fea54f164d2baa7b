-- Each claimant gets its part of the tasks there are; what one does not want is for the first.
local function share(claimants, count) -- luacheck: ignore
  local each, undealt = math.ceil(count / #claimants), count
  for _, one in ipairs(claimants) do
    one.got = math.min(one.want, each, undealt)
    undealt = undealt - one.got
  end
  for _, one in ipairs(claimants) do
    local more = math.min(one.want - one.got, undealt)
    one.got, undealt = one.got + more, undealt - more
  end
end
