--[[
Submit policy for clusters that borrow machines: keeps jobs off machines that are not for them, says why.

Loaded by job_submit.lua:

    local esagent = dofile("/etc/slurm/esagent_submit.lua")
    function slurm_job_submit(job, partitions, uid) return esagent.submit(job, partitions, uid) end

What is borrowed stands in a table of "key value" lines that the agent writes (see README.md). Where the
table is missing, old or broken, and where this file has a fault, every job is accepted as it came.
]]

local M = {}

M.table_path = "/run/esagent/borrowed"
M.reread_after = 5 -- seconds: slurmctld holds its locks while this runs, so a submit in a burst reads nothing
M.stale_after = 600 -- seconds: an agent that has been silent for so long says nothing about now

local MAX_TABLE = 65536
local WORDS = { never = true, ok = true, only = true }
local NO_VAL16 = 65534
local NO_VAL = 4294967294
local INFINITE = 4294967295

local cache = { read = 0, known = nil }

-- Read the table: {feature=, own_feature=, partitions={name=true}, written=, lease_end=, notice=,
-- default=, requeue=}; nil where there is none. An unknown key is left for a newer version to know.
function M.parse(text)
    local known = { partitions = {} }
    for key, value in text:gmatch("(%S+) ([^\n]*)\n") do
        if key == "partitions" then
            for name in value:gmatch("%S+") do
                known.partitions[name] = true
            end
        elseif key == "written" or key == "lease_end" or key == "notice" then
            known[key] = tonumber(value)
        elseif key == "feature" or key == "own_feature" then
            known[key] = value:match("^[%w_.-]+$")
        elseif key == "default" then
            known.default = WORDS[value] and value or nil
        elseif key == "requeue" then
            known.requeue = value == "yes"
        end
    end
    if known.feature == nil or known.written == nil then
        return nil
    end
    return known
end

local function load_table(now)
    if now >= cache.read and now - cache.read < M.reread_after then
        return cache.known
    end
    cache.read, cache.known = now, nil
    local file = io.open(M.table_path, "r")
    if file ~= nil then
        local text = file:read(MAX_TABLE)
        file:close()
        cache.known = text and M.parse(text)
    end
    return cache.known
end

-- What the user asked for: --elastic (SPANK), else elastic=WORD in the comment, else the constraint or the
-- QOS of that name. Returns the word or nil, and what was asked where it is none of the words.
function M.wish(job, known)
    local environment = job.spank_job_env
    if type(environment) == "table" then
        for _, entry in pairs(environment) do
            local word = tostring(entry):match("^SPANK_ELASTIC=(.*)$") or tostring(entry):match("^ELASTIC=(.*)$")
            if word ~= nil then
                return WORDS[word] and word, word
            end
        end
    end
    local word = (" " .. (job.comment or "") .. " "):match("[%s,;]elastic=([^%s,;]*)")
    if word ~= nil then
        return WORDS[word] and word, word
    end
    word = (job.qos or ""):match("^elastic%-(%l+)$")
    if word ~= nil and WORDS[word] then
        return word
    end
    -- Who writes "elastic|owned" has chosen among them, and asks for neither alone.
    local features = job.features or ""
    if not features:find("[|%[%*]") then
        for feature in features:gmatch("[%w_.-]+") do
            if feature == known.feature then
                return "only"
            elseif feature == known.own_feature then
                return "never"
            end
        end
    end
    return nil
end

-- Add a feature to what the user asked for; return false where Slurm has no way to say that. Slurm reads a
-- constraint from left to right, so this holds for all of it, and refuses parentheses around parentheses.
-- With counts of nodes (rack1*2) it takes any further feature, and then does not heed it.
local function constrain(job, feature)
    local features = job.features
    if features == nil or features == "" then
        job.features = feature
        return true
    elseif features:find("*", 1, true) then
        return false
    elseif not features:find("[|%[]") then
        for each in features:gmatch("[%w_.-]+") do
            if each == feature then
                return true
            end
        end
    end
    job.features = features .. "&" .. feature
    return true
end

local function minutes_left(known, now)
    return known.lease_end and math.floor((known.lease_end - now) / 60)
end

-- Why the job should not be on a borrowed machine; nil where nothing speaks against it.
function M.objection(job, known, now)
    if job.requeue == 0 then
        return "it may not be requeued, so its work would be lost when its machine is taken back"
    end
    local left = minutes_left(known, now)
    local limit = job.time_limit
    if left ~= nil and limit == INFINITE then
        return string.format("it has no time limit, and the lease has %d minutes left", left)
    elseif left ~= nil and limit ~= nil and limit ~= NO_VAL and limit > left then
        return string.format("its time limit of %d minutes is longer than the lease, which has %d left", limit, left)
    end
    return nil
end

local function keep_off(job, known, objection)
    local kept = known.own_feature ~= nil and constrain(job, known.own_feature)
    if objection then
        local words = kept and "this job stays off borrowed machines: %s"
            or "should this job start on a borrowed machine: %s"
        slurm.log_user(words, objection)
    elseif not kept and known.own_feature == nil then
        slurm.log_user("elastic=never has no effect: the site has not named the feature of its own machines")
    elseif not kept then
        slurm.log_user("elastic=never has no effect beside a constraint with counts of nodes: %s", job.features)
    end
end

local function decide(job, partitions, now)
    local known = load_table(now)
    if known == nil or now - known.written > M.stale_after then
        return slurm.SUCCESS
    end
    if job.partition ~= nil and next(known.partitions) ~= nil then
        local here = false
        for name in job.partition:gmatch("[^,]+") do
            here = here or known.partitions[name]
        end
        if not here then
            return slurm.SUCCESS
        end
    end
    local wish, asked = M.wish(job, known)
    if not wish and asked ~= nil then
        slurm.log_user("elastic=%s: expected never, ok or only", asked)
        return slurm.ERROR
    end
    wish = wish or known.default or "ok"
    local objection = wish ~= "never" and M.objection(job, known, now)
    if wish == "only" then
        if objection then
            slurm.log_user("this job asks for borrowed machines, but %s", objection)
        end
        if not constrain(job, known.feature) then
            slurm.log_user("elastic=only has no effect beside a constraint with counts of nodes: %s", job.features)
        end
    elseif wish == "never" or objection then
        keep_off(job, known, objection)
        return slurm.SUCCESS
    end
    if known.requeue and job.requeue == NO_VAL16 then
        job.requeue = 1
    end
    return slurm.SUCCESS
end

-- A fault here is only logged; Slurm 26.05 would refuse the job.
function M.submit(job, partitions, uid)
    local fine, answer = pcall(decide, job, partitions, os.time())
    if not fine then
        slurm.log_error("esagent_submit.lua: %s; the job is accepted as it came", tostring(answer))
        return slurm.SUCCESS
    end
    return answer
end

return M
