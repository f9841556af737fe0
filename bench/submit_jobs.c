/* Submits COUNT held jobs one after the other over libslurm, and prints the seconds that this took.
 *
 *   submit_jobs COUNT
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

int main(int argc, char **argv)
{
	char *environment[] = { "PATH=/usr/bin:/bin" };
	int count = argc > 1 ? atoi(argv[1]) : 1;
	struct timespec begin, end;
	job_desc_msg_t job;

	slurm_init(NULL);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < count; i++) {
		submit_response_msg_t *answer = NULL;

		slurm_init_job_desc_msg(&job);
		job.name = "bench";
		job.script = "#!/bin/sh\ntrue\n";
		job.work_dir = "/tmp";
		job.environment = environment;
		job.env_size = 1;
		job.priority = 0;
		job.time_limit = 30;
		job.user_id = getuid();
		job.group_id = getgid();
		if (slurm_submit_batch_job(&job, &answer) != SLURM_SUCCESS) {
			slurm_perror("submit");
			return 1;
		}
		slurm_free_submit_response_response_msg(answer);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.6f\n", (double) (end.tv_sec - begin.tv_sec) + (double) (end.tv_nsec - begin.tv_nsec) / 1e9);
	slurm_fini();
	return 0;
}
