-- What scripts read of an API key's row: when it was made, expires and was revoked, in ms, 0 for
-- never, 32 bytes of hash, its tenant. Texts follow that only the server reads.
local function api_key(row)
  if not row or #row < 58 then return nil end
  local made, expires, revoked, _, size = struct.unpack('>I8I8I8c32H', row)
  if #row < 58 + size then return nil end
  local key = { expires = expires, revoked = revoked, tenant = row:sub(59, 58 + size) }
  key.place = string.format('%s/%013.0f', key.tenant, made)
  if revoked > 0 and (expires == 0 or revoked < expires) then
    key.ended = revoked
  elseif expires > 0 then
    key.ended = expires
  end
  return key
end
