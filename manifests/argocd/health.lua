-- Health of a StagedRollout for Argo CD, in argocd-cm under resource.customizations.health.stagedrollout.io_StagedRollout.
-- Healthy: promoted. Degraded: it ended otherwise, or can't begin. Suspended: something holds it. Else it progresses.

local function condition(status, kind)
  for _, one in ipairs(status.conditions or {}) do
    if one.type == kind then
      return one
    end
  end
  return { status = "Unknown", message = "" }
end

local function first_hold(status)
  local hold = (status.holds or {})[1]
  if hold == nil then
    return nil
  end
  return hold.reason .. (hold.detail and hold.detail ~= "" and ": " .. hold.detail or "")
end

local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the controller has not looked at the newest plan yet" }
end

local ready, stalled = condition(status, "Ready"), condition(status, "Stalled")
if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
if stalled.status == "True" then
  return { status = "Degraded", message = stalled.message }
end
local hold = first_hold(status)
if hold ~= nil then
  return { status = "Suspended", message = hold }
end
return { status = "Progressing", message = condition(status, "Progressing").message }
