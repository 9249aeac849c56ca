-- Many token buckets at once: what `vc_auth.rates.token_bucket` does, number for number.
--
-- KEYS  buckets, in the order of their checks; one may come several times.
-- ARGV  the time in microseconds, or '' for the server's own; then of each check three numbers of microseconds:
--       the emission interval; the capacity; and the charge. A positive one is taken if the bucket holds it, zero only
--       looks, and a negative one is taken whether or not it fits, as far as the capacity holds it.
--
-- Returns the debt before each check, in microseconds of the given emission interval; -1 if what stands under the
-- bucket's name is not a bucket. A check passes if debt + charge <= capacity.
--
-- A bucket is 'tat emission'. Its tat is the time when it will be full; who comes later finds none, and it needs none.
-- Doubles hold every number here exactly: the largest, a time plus a capacity, is below 2^53. They are written with
-- %.0f, since tostring would keep 14 digits.

local call, ceil, format, match = redis.call, math.ceil, string.format, string.match

local now, keep = tonumber(ARGV[1]), 3600000
if not now then
  local time = call('TIME')
  now, keep = time[1] * 1000000 + time[2], 0
end

-- The tat and the emission interval in a state; nil if it is none of ours, or the error of a key of another type.
local function read(state)
  if type(state) == 'string' then
    local tat, emission = match(state, '^(%d+) ([1-9]%d*)$')
    return tonumber(tat), tonumber(emission)
  end
end

local debts = {}
for i, bucket in ipairs(KEYS) do
  local emission, capacity, charge = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local state, tat, was, debt = redis.pcall('GET', bucket), 0, emission, 0
  if state then
    tat, was = read(state)
  end
  if not tat then
    debt = -1
  elseif tat > now then
    debt = tat - now
    if was ~= emission then
      debt = ceil(debt / was) * emission
    end
    debt = math.min(debt, capacity)
  end
  if charge ~= 0 and tat then
    local owed = debt + math.abs(charge)
    if owed > capacity then
      owed = charge > 0 and debt or capacity
    end
    local left = format('%.0f %.0f', now + owed, emission)
    if left ~= state then
      call('SET', bucket, left, 'PX', format('%.0f', ceil(owed / 1000) + keep + 1))
    end
  end
  debts[i] = debt
end
return debts
