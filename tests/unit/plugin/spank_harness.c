/* Loads spank_esagent.so with a SPANK of its own, and calls it as slurmstepd and srun would.
 *
 *   spank_harness PLUGIN    reads lines of "WORD" from its input: each is given to --elastic; then the task
 *                           starts with each of the remaining arguments as a plugstack.conf argument.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <slurm/spank.h>

static struct spank_option option;
static int remote_side, known_before;

spank_context_t spank_context(void) { return remote_side ? S_CTX_REMOTE : S_CTX_LOCAL; }
int spank_remote(spank_t spank) { (void) spank; return remote_side; }

spank_err_t spank_option_register(spank_t spank, struct spank_option *given)
{
	(void) spank;
	option = *given;
	return ESPANK_SUCCESS;
}

spank_err_t spank_job_control_setenv(spank_t spank, const char *name, const char *value, int overwrite)
{
	(void) spank;
	(void) overwrite;
	printf("control %s=%s\n", name, value);
	return ESPANK_SUCCESS;
}

spank_err_t spank_getenv(spank_t spank, const char *name, char *to, int room)
{
	(void) spank;
	(void) name;
	if (!known_before)
		return ESPANK_ENV_NOEXIST;
	snprintf(to, (size_t) room, "1795350000");
	return ESPANK_NOSPACE;
}

spank_err_t spank_setenv(spank_t spank, const char *name, const char *value, int overwrite)
{
	(void) spank;
	(void) overwrite;
	printf("task %s=%s\n", name, value);
	return ESPANK_SUCCESS;
}

spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
{
	va_list rest;

	(void) spank;
	(void) item;
	va_start(rest, item);
	*va_arg(rest, uint32_t *) = 0;
	va_end(rest);
	return ESPANK_SUCCESS;
}

void slurm_error(const char *format, ...)
{
	va_list rest;

	va_start(rest, format);
	printf("error ");
	vprintf(format, rest);
	printf("\n");
	va_end(rest);
}

typedef int entry(spank_t, int, char **);

static void call(void *plugin, const char *name, int count, char **arguments)
{
	entry *function;

	*(void **) &function = dlsym(plugin, name);
	if (function == NULL) {
		fprintf(stderr, "%s is missing\n", name);
		exit(2);
	}
	int answer = function(NULL, count, arguments);
	if (answer != 0)
		printf("%s answered %d\n", name, answer);
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t room = 0;
	void *plugin = dlopen(argv[1], RTLD_NOW);

	if (plugin == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 2;
	}
	for (remote_side = 0; remote_side < 2; remote_side++) {
		call(plugin, "slurm_spank_init", argc - 2, argv + 2);
		rewind(stdin);
		while (getline(&line, &room, stdin) > 0) {
			line[strcspn(line, "\n")] = '\0';
			int answer = option.cb(option.val, *line ? line : NULL, remote_side);
			printf("option %d\n", answer);
			call(plugin, "slurm_spank_init_post_opt", argc - 2, argv + 2);
		}
	}
	free(line);
	for (known_before = 0; known_before < 2; known_before++)
		for (int i = 2; i <= argc; i++)
			call(plugin, "slurm_spank_task_init", i < argc, argv + i);
	return dlclose(plugin);
}
