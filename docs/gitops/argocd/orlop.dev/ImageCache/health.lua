-- The conditions are those of kstatus: Ready, Reconciling, Stalled.
local health = {status = "Progressing", message = "The controller has not looked at it yet"}
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= nil and obj.status.observedGeneration < obj.metadata.generation then
  health.message = "The controller has not looked at the last change yet"
  return health
end
local ready, stalled, degraded
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then
    ready = condition
  elseif condition.type == "Stalled" and condition.status == "True" then
    stalled = condition
  elseif condition.type == "Degraded" and condition.status == "True" then
    degraded = condition
  end
end
if ready ~= nil then
  health.message = ready.message
end
if ready ~= nil and (ready.reason == "Suspended" or ready.reason == "Purged") then
  health.status = "Suspended"
elseif stalled ~= nil then
  health.status = "Degraded"
  health.message = stalled.message
elseif ready ~= nil and ready.status == "True" then
  health.status = "Healthy"
  if degraded ~= nil then
    health.message = ready.message .. "; not as asked: " .. degraded.message
  end
end
return health
