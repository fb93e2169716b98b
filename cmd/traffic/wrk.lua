-- Sends a fixed number of requests, waits for every answer, then stops: so the
-- server's log and the wire agree on what was asked. wrk by itself stops after a
-- time, with requests under way that a server may or may not have read.
--
-- Arguments: batches, requests in a batch (pipelined), method, path, body bytes,
-- further header lines as name=value.

local batches, pipeline, sent, answered = 0, 1, 0, 0
local batch

function init(args)
   batches, pipeline = tonumber(args[1]), tonumber(args[2])
   for i = 6, #args do
      local name, value = args[i]:match("^([^=]+)=(.*)$")
      wrk.headers[name] = value
   end
   local size = tonumber(args[5])
   local body = size > 0 and string.rep("x", size) or nil
   batch = string.rep(wrk.format(args[3], args[4], nil, body), pipeline)
end

function request() return batch end

-- Called before each batch; a connection that may not send rests for an hour.
function delay()
   if sent == batches then return 3600000 end
   sent = sent + 1
   return 0
end

function response()
   answered = answered + 1
   if answered == batches * pipeline then
      wrk.thread:stop()
      -- wrk itself sleeps out its duration: whoever started it may end it now.
      io.stderr:write("answered\n")
   end
end
