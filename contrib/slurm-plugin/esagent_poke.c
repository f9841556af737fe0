/* esagent-poke: tell the agent that something happened in Slurm, and never keep Slurm waiting.
 *
 * Used as EpilogSlurmctld= and as a program of strigger(1). It always ends with status 0 within LIMIT_MS,
 * also when the agent is dead or its socket hangs: slurmctld would otherwise drain a node or hold a job up.
 *
 *   esagent-poke [NODES]      SLURM_JOB_ID and SLURM_JOB_NODELIST are used where they are set.
 *
 * Under the names esagent-resume, esagent-suspend and esagent-resume-fail it is ResumeProgram=, SuspendProgram=
 * and ResumeFailProgram= of Slurm's power saving: the agent then looks at once which nodes Slurm wants.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/esagent/admin.sock"
#define LIMIT_MS 15
#define MAX_SUBJECT 2048

/* Append text as the inside of a JSON string; what JSON or we would have to escape becomes '?'. */
static size_t append(char *to, size_t used, size_t room, const char *text)
{
	for (; *text && used + 1 < room; text++) {
		unsigned char c = (unsigned char) *text;
		to[used++] = (c < 0x20 || c > 0x7e || c == '"' || c == '\\') ? '?' : (char) c;
	}
	to[used] = '\0';
	return used;
}

int main(int argc, char **argv)
{
	const char *route = strstr(argc > 0 ? argv[0] : "", "esagent-poke") ? "poke" : "power";
	const char *path = getenv("ESAGENT_SOCKET");
	const char *nodes = argc > 1 ? argv[1] : getenv("SLURM_JOB_NODELIST");
	const char *job = getenv("SLURM_JOB_ID");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char subject[MAX_SUBJECT] = "", name[64] = "", body[MAX_SUBJECT + 256], request[MAX_SUBJECT + 512];

	if (path == NULL || *path == '\0')
		path = DEFAULT_SOCKET;
	if (strlen(path) >= sizeof(address.sun_path))
		return 0;
	memcpy(address.sun_path, path, strlen(path) + 1);
	append(subject, 0, sizeof(subject), nodes ? nodes : "");
	append(name, 0, sizeof(name), job ? job : "");
	int length = snprintf(body, sizeof(body), "{\"nodes\": \"%s\", \"job\": \"%s\"}", subject, name);
	length = snprintf(request, sizeof(request),
			  "POST /v1/%s HTTP/1.1\r\nHost: esagent\r\nContent-Type: application/json\r\n"
			  "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
			  route, length, body);

	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server < 0)
		return 0;
	/* A full backlog answers EAGAIN at once: the agent has enough reason to look already. */
	if (connect(server, (struct sockaddr *) &address, sizeof(address)) == 0 &&
	    send(server, request, (size_t) length, MSG_NOSIGNAL) == length) {
		struct pollfd answer = { .fd = server, .events = POLLIN };
		/* To close at once would have the agent read from a connection that is gone. */
		poll(&answer, 1, LIMIT_MS);
	}
	close(server);
	return 0;
}
