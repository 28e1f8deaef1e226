-- Has wrk send a body of so many bytes with each request: `wrk -s post.lua URL -- BYTES`.
function init(args)
  wrk.method = "POST"
  wrk.body = string.rep("x", tonumber(args[1]))
end
