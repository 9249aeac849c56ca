-- Many token buckets at once: what `vc_auth.rates.token_bucket` does, number for number.
--
-- KEYS     buckets, in the order of their checks; one may come several times.
-- ARGV[1]  of each check three numbers of microseconds: the emission interval; the capacity; and the charge. A positive
--          one is taken if the bucket holds it, zero only looks, and a negative one is taken whether or not it fits, as
--          far as the capacity holds it.
-- ARGV[2]  the time in microseconds, in decimal; without it, the server's own.
--
-- Returns the debt before each check, in microseconds of the given emission interval; -1 if what stands under the
-- bucket's name is not a bucket. A check passes if debt + charge <= capacity.
--
-- A bucket is its tat and its emission interval. The tat is the time when it will be full; who comes later finds none,
-- and it needs none.
--
-- All numbers but ARGV[2] travel and are kept as doubles of eight bytes, lower one first. A double holds every number
-- here exactly: the largest, a time plus a capacity, is below 2^53. To read and write them in decimal would take as
-- long as all the rest.

local call, pcall, ceil, min, abs = redis.call, redis.pcall, math.ceil, math.min, math.abs
local format, pack, unpack = string.format, struct.pack, struct.unpack
local buckets, checks = KEYS, ARGV[1]

local now, keep = tonumber(ARGV[2]), 3600000
if not now then
  local time = call('TIME')
  now, keep = time[1] * 1000000 + time[2], 0
end

-- The tat and the emission interval in a state; nil if it is none of ours, or the error of a key of another type.
local function read(state)
  if type(state) == 'string' and #state == 16 then
    local tat, emission = unpack('<dd', state)
    if tat >= 1 and emission >= 1 and tat % 1 == 0 and emission % 1 == 0 then
      return tat, emission
    end
  end
end

local debts, place = {}, 1
for i = 1, #buckets do
  local bucket, emission, capacity, charge = buckets[i]
  emission, capacity, charge, place = unpack('<ddd', checks, place)
  local state, tat, was, debt = pcall('GET', bucket), 0, emission, 0
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
    debt = min(debt, capacity)
  end
  if charge ~= 0 and tat then
    local owed = debt + abs(charge)
    if owed > capacity then
      owed = charge > 0 and debt or capacity
    end
    local left = pack('<dd', now + owed, emission)
    if left ~= state then
      -- Not a Lua number: Redis would write one with 17 digits.
      call('SET', bucket, left, 'PX', format('%.0f', ceil(owed / 1000) + keep + 1))
    end
  end
  debts[i] = debt
end
return debts
