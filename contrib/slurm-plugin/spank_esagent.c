/* SPANK plugin: --elastic=never|ok|only for srun, sbatch and salloc, and a warning on borrowed machines.
 *
 * plugstack.conf(5):  optional  spank_esagent.so  [table=/run/esagent/lease]
 *
 * At submission it hands the word to job_submit.lua (SPANK_ELASTIC in the job's SPANK environment). Where a
 * job starts on a borrowed machine, which has the table, it sets SLURM_ELASTIC_DEADLINE (seconds since 1970)
 * in the environment of each task, and writes one line of warning to the first task's error output.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <slurm/spank.h>

SPANK_PLUGIN(esagent, 1);

#define DEFAULT_TABLE "/run/esagent/lease"
#define MAX_TABLE 4096
#define VARIABLE "SLURM_ELASTIC_DEADLINE"

static const char *asked;

static int take_word(int value, const char *word, int remote);

static struct spank_option elastic = {
	"elastic",
	"never|ok|only",
	"keep the job off borrowed machines, allow them (ok), or use nothing else (only)",
	1,
	0,
	take_word,
};

static int take_word(int value, const char *word, int remote)
{
	static const char *const words[] = { "never", "ok", "only" };

	(void) value;
	for (size_t i = 0; word && i < sizeof(words) / sizeof(*words); i++) {
		if (!strcmp(word, words[i])) {
			asked = words[i];
			return ESPANK_SUCCESS;
		}
	}
	if (!remote)
		slurm_error("--elastic=%.40s: expected never, ok or only", word ? word : "");
	/* A job that is there already does not fail for a word that the submit let pass. */
	return remote ? ESPANK_SUCCESS : ESPANK_BAD_ARG;
}

/* Return the value of a key in the machine's table of "key number" lines; 0 where there is none. */
static long long read_table(const char *path, const char *key)
{
	char text[MAX_TABLE + 1];
	size_t length = strlen(key);
	long long found = 0;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (file < 0)
		return 0;
	ssize_t got = read(file, text, MAX_TABLE);
	close(file);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	for (char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, key, length) && line[length] == ' ' && isdigit((unsigned char) line[length + 1]))
			found = strtoll(line + length + 1, NULL, 10);
	}
	return found > 0 ? found : 0;
}

static const char *table_path(int count, char **arguments)
{
	for (int i = 0; i < count; i++)
		if (!strncmp(arguments[i], "table=", 6) && arguments[i][6])
			return arguments[i] + 6;
	return DEFAULT_TABLE;
}

int slurm_spank_init(spank_t spank, int count, char **arguments)
{
	(void) count;
	(void) arguments;
	/* Slurm takes options from any place but the prolog's and the epilog's. */
	return spank_context() == S_CTX_JOB_SCRIPT ? (int) ESPANK_SUCCESS
						   : (int) spank_option_register(spank, &elastic);
}

int slurm_spank_init_post_opt(spank_t spank, int count, char **arguments)
{
	(void) count;
	(void) arguments;
	if (asked == NULL || spank_remote(spank) != 0)
		return ESPANK_SUCCESS;
	if (spank_job_control_setenv(spank, "ELASTIC", asked, 1) != ESPANK_SUCCESS)
		slurm_error("--elastic=%s is lost: this Slurm takes no SPANK environment here", asked);
	return ESPANK_SUCCESS;
}

/* In the task's process, as its user, with the task's own standard error. */
int slurm_spank_task_init(spank_t spank, int count, char **arguments)
{
	char deadline[32], known[2], when[32];
	const char *path = table_path(count, arguments);
	long long until = read_table(path, "lease_end");
	uint32_t task = 0;
	struct tm parts;

	if (until == 0)
		return ESPANK_SUCCESS;
	/* A step of a job script has it from there: it was warned of already. */
	int warned = spank_getenv(spank, VARIABLE, known, sizeof(known)) != ESPANK_ENV_NOEXIST;
	snprintf(deadline, sizeof(deadline), "%lld", until);
	spank_setenv(spank, VARIABLE, deadline, 1);
	if (warned || spank_get_item(spank, S_TASK_GLOBAL_ID, &task) != ESPANK_SUCCESS || task != 0)
		return ESPANK_SUCCESS;
	time_t end = (time_t) until;
	if (gmtime_r(&end, &parts) == NULL || strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		return ESPANK_SUCCESS;
	dprintf(STDERR_FILENO,
		"esagent: this machine is borrowed until %s and may be taken back earlier, with %lld minutes of notice\n",
		when, read_table(path, "notice") / 60);
	return ESPANK_SUCCESS;
}
