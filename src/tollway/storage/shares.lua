-- Settles what one process claims of shared limits: `Lessor.settle`, in one step. See shares.py for what always holds.
--
-- KEYS: the state (a hash: memory, born, lost), the processes (a sorted set: until when each is leased), the limits that are
-- wanted (a sorted set: until when), this process's sequence, then one hash for each claim: process -> "share used frees-at".
-- ARGV: process, sequence, its memory, a new memory, lease, recall, wanted (ms), how long keys are kept (ms); then of each
-- claim: name, limit, used, share, least, wanted, more, frees in (ms, -1), window (ms).
-- Answers {memory, recalling, processes, {wanted names}, {share, idle, frees in, share, ...}}.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state, processes, wanted, sequence = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local me, told, fresh = ARGV[1], ARGV[3], ARGV[4]
local lease, recall, wanted_ms, kept = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local memory = redis.call('HGET', state, 'memory')
if not memory then
  memory = fresh
  redis.call('HSET', state, 'memory', memory, 'born', now)
end
if told ~= '' and told ~= memory then
  redis.call('HSET', state, 'lost', 1)
end
local recalling = 0
if redis.call('HGET', state, 'lost') and now < tonumber(redis.call('HGET', state, 'born')) + recall then
  recalling = 1
end
redis.call('PEXPIRE', state, kept)

if tonumber(ARGV[2]) <= tonumber(redis.call('GET', sequence) or 0) then
  return {memory, recalling, math.max(1, redis.call('ZCOUNT', processes, '(' .. now, '+inf')), {}, {}}
end
redis.call('SET', sequence, ARGV[2], 'PX', kept)
redis.call('ZADD', processes, now + lease, me)
redis.call('ZREMRANGEBYSCORE', processes, '-inf', now - kept)
redis.call('PEXPIRE', processes, kept)
local living = math.max(1, redis.call('ZCOUNT', processes, '(' .. now, '+inf'))

local leased = {}
local function until_when(process)
  local found = leased[process]
  if found == nil then
    found = tonumber(redis.call('ZSCORE', processes, process) or 0)
    leased[process] = found
  end
  return found
end

local answers = {}
for i = 5, #KEYS do
  local at = 9 + (i - 5) * 9
  local limit, used, share = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local least, asked, more = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local frees, window = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
  local others, idle, earliest = 0, 0, -1
  local held = redis.call('HGETALL', KEYS[i])
  for j = 1, #held, 2 do
    if held[j] ~= me then
      local until_ms = until_when(held[j])
      local their_share, their_used, frees_at = string.match(held[j + 1], '^(%d+) (%d+) (-?%d+)$')
      if until_ms + window <= now then
        redis.call('HDEL', KEYS[i], held[j])
      else
        others = others + tonumber(their_share)
        frees_at = tonumber(frees_at)
        if until_ms > now then
          if frees_at >= 0 and frees_at <= now then
            idle = idle + their_share  -- what it used longest ago may be over: it will say how much of it
          else
            idle = idle + math.max(0, their_share - their_used)
          end
        else
          frees_at = until_ms + window
        end
        if frees_at >= 0 then
          local left = math.max(0, frees_at - now)
          earliest = earliest < 0 and left or math.min(earliest, left)
        end
      end
    end
  end
  local mine = math.max(share, used)
  local free = limit - others - mine
  local granted = 0
  if recalling == 0 and free > 0 and free >= least then
    granted = math.min(free, asked)
    granted = granted + math.min(more, math.floor((free - granted) / (2 * living)))
  end
  if least > 0 and granted < least then
    redis.call('ZADD', wanted, now + wanted_ms, ARGV[at])
    redis.call('PEXPIRE', wanted, kept)
  end
  mine = mine + granted
  if mine > 0 then
    local frees_at = frees >= 0 and now + frees or -1
    redis.call('HSET', KEYS[i], me, string.format('%.0f %.0f %.0f', mine, used, frees_at))
    redis.call('PEXPIRE', KEYS[i], kept)
  else
    redis.call('HDEL', KEYS[i], me)
  end
  answers[#answers + 1] = mine
  answers[#answers + 1] = idle
  answers[#answers + 1] = earliest
end

redis.call('ZREMRANGEBYSCORE', wanted, '-inf', now)
return {memory, recalling, living, redis.call('ZRANGE', wanted, 0, 999), answers}
