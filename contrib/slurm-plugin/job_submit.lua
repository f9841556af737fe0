-- Written by esagent's install.sh. A site's own policy, in job_submit.site.lua, is asked first.

local directory = "@SLURM_ETC@"

-- Whatever is wrong with esagent's policy, this script loads: slurmctld would not start without it.
local loaded, esagent = pcall(dofile, directory .. "/esagent_submit.lua")
if not loaded or type(esagent) ~= "table" or type(esagent.submit) ~= "function" then
    slurm.log_error("esagent_submit.lua cannot be used, and no job is looked at: %s", tostring(esagent))
    esagent = nil
else
    esagent.table_path = "@TABLE@"
end

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
    -- Slurm up to 25.11 accepts a job whose script fails, 26.05 refuses it.
    local fine, verdict = pcall(esagent.submit, job, partitions, uid)
    if not fine or type(verdict) ~= "number" then
        slurm.log_error("esagent_submit.lua: %s; the job is accepted as it came", tostring(verdict))
        return slurm.SUCCESS
    end
    return verdict
end

function slurm_job_modify(job, record, partitions, uid)
    if site_modify ~= nil then
        return site_modify(job, record, partitions, uid)
    end
    return slurm.SUCCESS
end

return slurm.SUCCESS
