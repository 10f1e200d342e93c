-- The conditions are those of a Job: Complete, Failed, Suspended; and Stalled, where it takes a person to go on.
local health = {status = "Progressing", message = "The controller has not looked at it yet"}
if obj.status == nil or obj.status.observedGeneration == nil then
  return health
end
if obj.status.observedGeneration < obj.metadata.generation then
  health.message = "The controller has not looked at the last change yet"
  return health
end
health.message = obj.status.message or ""
for _, kind in ipairs({"Failed", "Complete", "Suspended", "Stalled"}) do
  for _, condition in ipairs(obj.status.conditions or {}) do
    if condition.type == kind and condition.status == "True" then
      health.message = condition.message
      if kind == "Complete" then
        health.status = "Healthy"
      elseif kind == "Suspended" then
        health.status = "Suspended"
      else
        health.status = "Degraded"
      end
      return health
    end
  end
end
return health
