-- A schedule is well when it is understood and followed, whatever became of its last run: see the NodeJobs for that.
local health = {status = "Progressing", message = "The controller has not looked at it yet"}
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= nil and obj.status.observedGeneration < obj.metadata.generation then
  health.message = "The controller has not looked at the last change yet"
  return health
end
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Stalled" and condition.status == "True" then
    health.status = "Degraded"
    health.message = condition.message
    return health
  end
  if condition.type == "Ready" then
    health.message = condition.message
    if condition.status == "True" then
      health.status = "Healthy"
    end
  end
end
if obj.spec.suspend == true then
  health.status = "Suspended"
end
return health
