-- Written by esagent's install.sh. A site's own policy, in job_submit.site.lua, is asked first.

local directory = "@SLURM_ETC@"

local function load(name)
    local chunk, fault = loadfile(directory .. "/" .. name)
    if chunk == nil then
        return nil, fault
    end
    return chunk()
end

local esagent = load("esagent_submit.lua")
local site_submit, site_modify
do
    local file = io.open(directory .. "/job_submit.site.lua", "r")
    if file ~= nil then
        file:close()
        -- A fault in it is raised here as it was before: slurmctld then keeps the script that it has.
        assert(loadfile(directory .. "/job_submit.site.lua"))()
        site_submit, site_modify = slurm_job_submit, slurm_job_modify
    end
end

function slurm_job_submit(job, partitions, uid)
    if site_submit ~= nil then
        local answer = site_submit(job, partitions, uid)
        if answer ~= nil and answer ~= slurm.SUCCESS and type(answer) == "number" then
            return answer
        end
    end
    if esagent == nil then
        return slurm.SUCCESS
    end
    return esagent.submit(job, partitions, uid)
end

function slurm_job_modify(job, record, partitions, uid)
    if site_modify ~= nil then
        return site_modify(job, record, partitions, uid)
    end
    return slurm.SUCCESS
end

return slurm.SUCCESS
