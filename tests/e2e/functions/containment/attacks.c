/*
 * What a hostile executable may try. Every attack is bounded: where it succeeds it stops by itself.
 * Called with the arguments as JSON; prints {"escaped": bool, "how": text}.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEGABYTE (1 << 20)
#define SHARED_KEY 0x5ec7
#define MOST 4096
#define WORD 4096

static const char *arguments;

/* Prints the outcome and ends. */
__attribute__((noreturn, format(printf, 2, 3))) static void outcome(bool escaped, const char *how, ...) {
  char text[WORD];
  va_list rest;
  va_start(rest, how);
  vsnprintf(text, sizeof text, how, rest);
  va_end(rest);
  for (char *c = text; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '\'';
  printf("{\"escaped\":%s,\"how\":\"%s\"}\n", escaped ? "true" : "false", text);
  fflush(stdout);
  exit(0);
}

/* Where the value of a key begins in the arguments, or nothing. */
static const char *value(const char *key) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  const char *found = strstr(arguments, quoted);
  return found ? found + strlen(quoted) : NULL;
}

static double number(const char *key) {
  const char *found = value(key);
  return found ? strtod(found, NULL) : 0;
}

/* Copies the text at `from`, which begins with a quote, without its escapes; gives what is behind it. */
static const char *unquote(const char *from, char *to, size_t room) {
  const char *end = to + room - 1;
  for (from++; *from && *from != '"'; from++) {
    if (*from == '\\' && from[1]) from++;
    if (to < end) *to++ = *from;
  }
  *to = 0;
  return *from ? from + 1 : from;
}

static char *text(const char *key) {
  static char texts[4][2 * WORD];
  static int next;
  char *to = texts[next++ % 4];
  const char *found = value(key);
  to[0] = 0;
  if (found && *found == '"') unquote(found, to, sizeof texts[0]);
  return to;
}

/* The texts of a list, one after the other; false behind the last. */
static bool next_text(const char **at, char *to, size_t room) {
  while (*at && **at && **at != '"' && **at != ']') (*at)++;
  if (!*at || **at != '"') return false;
  *at = unquote(*at, to, room);
  return true;
}

static size_t contents(const char *path, char *to, size_t room) {
  int fd = open(path, O_RDONLY);
  ssize_t length = fd < 0 ? -1 : read(fd, to, room - 1);
  if (fd >= 0) close(fd);
  length = length < 0 ? 0 : length;
  to[length] = 0;
  return (size_t)length;
}

static void doze(long milliseconds) {
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&time, NULL);
}

/* System calls as data; how they are written is told in attacks.py. */
static long word_value(const char *word, long last, char *shared) {
  if (!strcmp(word, "$")) return last;
  if (word[1] == ':' || word[0] == '@') {
    size_t length = word[0] == '@' && !word[1] ? 0 : strlen(word + 2);
    if (word[0] == 'z') return (long)calloc(1, (size_t)atol(word + 2));
    if (word[0] == 's') return (long)strdup(word + 2);
    char *bytes = word[0] == '@' ? shared : calloc(1, length / 2 + 1);
    for (size_t i = 0; i + 1 < length; i += 2) {
      unsigned byte;
      sscanf(word + 2 + i, "%2x", &byte);
      bytes[i / 2] = (char)byte;
    }
    return (long)bytes;
  }
  return strtol(word, NULL, 0);
}

static void calls(void) {
  int told[2];
  char answer[256] = "it did not live to tell";
  if (pipe(told)) outcome(false, "no pipe");
  pid_t child = fork();
  if (child == 0) {
    static char shared[512];
    char *all = text("calls"), *rest;
    long last = 0;
    pid_t itself = getpid();
    for (char *call = strtok_r(all, ";", &rest); call; call = strtok_r(NULL, ";", &rest)) {
      long values[7] = {0};
      int count = 0, wanted = 0;
      char *words;
      for (char *word = strtok_r(call, " ", &words); word; word = strtok_r(NULL, " ", &words)) {
        if (*word == '=') wanted = atoi(word + 1);
        else if (count < 7) values[count++] = word_value(word, last, shared);
      }
      last = syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
      int error = errno;
      if (getpid() != itself) _exit(0);
      if (last < 0 && !(wanted && error == wanted)) {
        dprintf(told[1], "no: call %ld: %s", values[0], strerror(error));
        _exit(0);
      }
    }
    dprintf(told[1], "yes");
    _exit(0);
  }
  close(told[1]);
  ssize_t length = read(told[0], answer, sizeof answer - 1);
  if (length > 0) answer[length] = 0;
  waitpid(child, NULL, 0);
  outcome(!strcmp(answer, "yes"), "%s", answer);
}

static void processes(void) {
  static pid_t children[MOST];
  int wanted = (int)number("count"), made = 0;
  while (made < wanted && made < MOST && (children[made] = fork()) >= 0) {
    if (children[made] == 0) {
      pause();
      _exit(0);
    }
    made++;
  }
  int error = errno;
  for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
  for (int i = 0; i < made; i++) waitpid(children[i], NULL, 0);
  outcome(made >= wanted, "%d processes, %s", made, made < wanted ? strerror(error) : "as many as wanted");
}

static void *rest_forever(void *nothing) {
  pause();
  return nothing;
}

static void threads(void) {
  int wanted = (int)number("count"), made = 0, error = 0;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 32768);
  for (pthread_t thread; made < wanted; made++)
    if ((error = pthread_create(&thread, &small, rest_forever, NULL))) break;
  outcome(made >= wanted, "%d threads, %s", made, strerror(error));
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Uses a processor between two points of time; how much of it this thread had, in milliseconds. */
static void *spinner(void *used) {
  double from = number("from"), until = number("until");
  cpu_set_t processor;
  struct timespec before, after;
  CPU_ZERO(&processor);
  CPU_SET((size_t)number("processor"), &processor);
  sched_setaffinity(0, sizeof processor, &processor);
  while (now() < from) doze(1);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  while (now() < until) continue;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  *(long *)used = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
  return NULL;
}

static void spin(void) {
  static pthread_t all[MOST];
  static long used[MOST];
  int count = (int)number("count");
  bool late = now() > number("from");
  long total = 0;
  for (int i = 0; i < count; i++) pthread_create(&all[i], NULL, spinner, &used[i]);
  for (int i = 0; i < count; i++) {
    pthread_join(all[i], NULL);
    total += used[i];
  }
  printf("{\"late\":%s,\"used\":%ld}\n", late ? "true" : "false", total);
  exit(0);
}

static void memory(void) {
  int wanted = (int)number("megabytes");
  bool slowly = value("slowly") && *value("slowly") == 't';
  for (int i = 0; i < wanted; i++) {
    char *piece = malloc(MEGABYTE);
    if (!piece) outcome(false, "%d MB, then none", i);
    memset(piece, i | 1, MEGABYTE);
    if (slowly) doze(1);
  }
  outcome(true, "%d MB held", wanted);
}

static void memory_in_files(void) {
  static char piece[MEGABYTE];
  int wanted = (int)number("megabytes"), fd = memfd_create("hoard", 0);
  memset(piece, 1, sizeof piece);
  for (int i = 0; i < wanted; i++)
    if (write(fd, piece, sizeof piece) != sizeof piece) outcome(false, "%d MB, %s", i, strerror(errno));
  outcome(true, "%d MB in a file without a name", wanted);
}

static void fill(void) {
  static char piece[MEGABYTE];
  char path[WORD];
  int wanted = (int)number("megabytes"), written = 0;
  snprintf(path, sizeof path, "%s/full", text("folder"));
  memset(piece, 1, sizeof piece);
  int fd = open(path, O_CREAT | O_WRONLY, 0600);
  while (written < wanted && write(fd, piece, sizeof piece) == sizeof piece) written++;
  int error = errno;
  unlink(path);
  outcome(written >= wanted, "%d MB, %s", written, written < wanted ? strerror(error) : "as much as wanted");
}

/* Fills folders one after the other, and keeps what is in them. */
static void fill_all(void) {
  static char piece[MEGABYTE];
  char folder[WORD], path[WORD + 8];
  int wanted = (int)number("megabytes"), written = 0;
  memset(piece, 1, sizeof piece);
  for (const char *at = value("folders"); next_text(&at, folder, sizeof folder);) {
    snprintf(path, sizeof path, "%s/hoard", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < wanted; i++, written++)
      if (write(fd, piece, sizeof piece) != sizeof piece) outcome(false, "%d MB, %s", written, strerror(errno));
  }
  outcome(true, "%d MB", written);
}

static void inodes(void) {
  char path[WORD], *folder = text("folder");
  int wanted = (int)number("count"), made = 0, fd = 0;
  for (; made < wanted; made++) {
    snprintf(path, sizeof path, "%s/empty-%d", folder, made);
    if ((fd = open(path, O_CREAT | O_WRONLY, 0600)) < 0) break;
    close(fd);
  }
  int error = errno;
  for (int i = 0; i < made; i++) {
    snprintf(path, sizeof path, "%s/empty-%d", folder, i);
    unlink(path);
  }
  outcome(made >= wanted, "%d files, %s", made, made < wanted ? strerror(error) : "as many as wanted");
}

static void descriptors(void) {
  int wanted = (int)number("count"), held = 0;
  struct rlimit limit = {(rlim_t)wanted + 64, (rlim_t)wanted + 64};
  setrlimit(RLIMIT_NOFILE, &limit);
  while (held < wanted && open("/dev/null", O_RDONLY) >= 0) held++;
  outcome(held >= wanted, "%d descriptors, %s", held, held < wanted ? strerror(errno) : "as many as wanted");
}

static void ignore_the_end(void) {
  for (int signal_number = 1; signal_number <= 64; signal_number++) signal(signal_number, SIG_IGN);
  prctl(PR_SET_NAME, text("name"));
  for (;;) doze(50);
}

/* The process of another function that has this name in its environment; what its value is. */
static pid_t neighbour(char *secret, size_t room) {
  char path[300], environment[65536], mark[256];
  snprintf(mark, sizeof mark, "%s=", text("mark"));
  DIR *all = opendir("/proc");
  for (struct dirent *entry; all && (entry = readdir(all));) {
    pid_t process = atoi(entry->d_name);
    if (process <= 0 || process == getpid()) continue;
    snprintf(path, sizeof path, "/proc/%d/environ", process);
    size_t length = contents(path, environment, sizeof environment);
    for (char *at = environment; at < environment + length; at += strlen(at) + 1)
      if (!strncmp(at, mark, strlen(mark))) {
        snprintf(secret, room, "%s", at + strlen(mark));
        return process;
      }
  }
  return 0;
}

static void environment(void) {
  char secret[256] = "";
  pid_t process = neighbour(secret, sizeof secret);
  outcome(process > 0, "process %d has %s", process, secret);
}

/* Whether a process is seen that was started by this command line. */
static void command_line(void) {
  char path[300], line[4096];
  DIR *all = opendir("/proc");
  for (struct dirent *entry; all && (entry = readdir(all));) {
    if (atoi(entry->d_name) <= 0) continue;
    snprintf(path, sizeof path, "/proc/%d/cmdline", atoi(entry->d_name));
    size_t length = contents(path, line, sizeof line);
    for (size_t i = 0; i + 1 < length; i++)
      if (!line[i]) line[i] = ' ';
    if (!strcmp(line, text("mark"))) outcome(true, "process %s is seen", entry->d_name);
  }
  outcome(false, "it is not seen");
}

/* Prints a line where another function prints. */
static void write_for_a_neighbour(void) {
  char secret[256], path[64];
  static const char line[] = "a line of somebody else\n";
  pid_t process = neighbour(secret, sizeof secret);
  if (!process) outcome(false, "no neighbour is seen");
  snprintf(path, sizeof path, "/proc/%d/fd/1", process);
  int fd = open(path, O_WRONLY);
  outcome(fd >= 0 && write(fd, line, sizeof line - 1) > 0, "printing for %d: %s", process, strerror(errno));
}

/* Whether processes above this function take signals, beside those of its own sandbox: its launcher and the first. */
static void signal_the_parents(void) {
  char path[64], stat[4096];
  int taken = 0;
  for (pid_t above = getppid(); above > 1;) {
    snprintf(path, sizeof path, "/proc/%d/stat", above);
    contents(path, stat, sizeof stat);
    char *name = strchr(stat, '('), *rest = strrchr(stat, ')');
    if (name && !strncmp(name + 1, "chasen", 6) && kill(above, 0) == 0) taken++;
    if (!rest || sscanf(rest, ") %*c %d", &above) != 1) break;
  }
  outcome(taken > 1, "%d processes above take signals", taken);
}

static void kill_neighbour(void) {
  char secret[256];
  pid_t process = neighbour(secret, sizeof secret);
  outcome(process > 0 && kill(process, SIGKILL) == 0, "neighbour %d", process);
}

static void trace_neighbour(void) {
  char secret[256];
  pid_t process = neighbour(secret, sizeof secret);
  long traced = ptrace(PTRACE_SEIZE, process ? process : 1, NULL, NULL);
  outcome(process > 0 && traced == 0, "tracing %d: %s", process, strerror(errno));
}

static void signal_the_node(void) {
  pid_t process = (pid_t)number("process");
  bool takes = process > 0 && kill(process, 0) == 0;
  outcome(takes, "process %d: %s", process, takes ? "takes signals" : strerror(errno));
}

static void set_user_program(void) {
  char path[WORD], status[4096];
  for (const char *at = value("programs"); next_text(&at, path, sizeof path);) {
    int input[2];
    if (access(path, X_OK) || pipe(input)) continue;
    pid_t child = fork();
    if (child == 0) {
      dup2(input[0], 0);
      execl(path, path, NULL);
      _exit(1);
    }
    unsigned effective = 1;
    char own[64];
    snprintf(own, sizeof own, "/proc/%d/status", child);
    for (int look = 0; look < 200 && effective && waitpid(child, NULL, WNOHANG) == 0; look++) {
      contents(own, status, sizeof status);
      char *line = strstr(status, "Uid:");
      if (line) sscanf(line, "Uid: %*u %u", &effective);
      doze(5);
    }
    kill(child, SIGKILL);
    if (!effective) outcome(true, "%s runs as root", path);
  }
  outcome(false, "no program runs as root");
}

static void core_dump(void) {
  bool left = false;
  rlim_t wanted[] = {RLIM_INFINITY, 0};
  for (int i = 0; i < 2; i++) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
      struct rlimit limit = {wanted[i], RLIM_INFINITY};
      setrlimit(RLIMIT_CORE, &limit);
      if (chdir("/tmp") == 0) abort();
      _exit(1);
    }
    waitpid(child, &status, 0);
    left |= WCOREDUMP(status) != 0;
  }
  outcome(left, "a crash left something behind: %d", left);
}

static void leave(void) {
  char path[WORD];
  int left = 0;
  for (const char *at = value("paths"); next_text(&at, path, sizeof path);) {
    int fd = open(path, O_CREAT | O_WRONLY, 0666);
    char *what = text("text");
    if (fd >= 0 && write(fd, what, strlen(what)) > 0) left++;
    if (fd >= 0) close(fd);
  }
  outcome(left > 0, "left %d", left);
}

static void find(void) {
  static char path[WORD], content[65536];
  for (const char *at = value("paths"); next_text(&at, path, sizeof path);) {
    size_t length = contents(path, content, sizeof content);
    char *what = text("text");
    if (memmem(content, length, what, strlen(what))) outcome(true, "found in %s", path);
  }
  outcome(false, "found nowhere");
}

static int is_searched(const char *path, const struct stat *status, int kind, struct FTW *place) {
  static char content[65536];
  (void)status, (void)place;
  if (kind != FTW_F) return 0;
  size_t length = contents(path, content, sizeof content);
  char *what = text("text");
  if (memmem(content, length, what, strlen(what))) outcome(true, "found in %s", path);
  return 0;
}

/* Looks for a text in all files below some folders. */
static void search(void) {
  char path[WORD];
  for (const char *at = value("paths"); next_text(&at, path, sizeof path);) nftw(path, is_searched, 16, FTW_PHYS);
  outcome(false, "found nowhere");
}

static void create(void) {
  char path[WORD];
  for (const char *at = value("paths"); next_text(&at, path, sizeof path);)
    if (open(path, O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0) {
      unlink(path);
      outcome(true, "made %s", path);
    }
  outcome(false, "made none: %s", strerror(errno));
}

static void open_to_write(void) {
  static char path[WORD], said[65536];
  syscall(SYS_setresuid, 0, 0, 0);
  for (const char *at = value("paths"); next_text(&at, path, sizeof path);) {
    size_t length = contents(path, said, sizeof said);
    int fd = open(path, O_WRONLY);
    if (fd >= 0 && (length == 0 || write(fd, said, length) >= 0)) outcome(true, "wrote %s", path);
  }
  outcome(false, "wrote none: %s", strerror(errno));
}

static void shared_memory(void) {
  bool leaves = value("leave") != NULL;
  int segment = leaves ? shmget(SHARED_KEY, 4096, IPC_CREAT | 0666) : shmget(SHARED_KEY, 0, 0);
  if (segment >= 0 && !leaves) shmctl(segment, IPC_RMID, NULL);
  outcome(segment >= 0, "segment %d", segment);
}

static void connect_to(void) {
  char host[64], byte;
  for (const char *at = value("targets"); at && (at = strstr(at, "\"host\":"));) {
    at = unquote(at + strlen("\"host\":"), host, sizeof host);
    const char *port = strstr(at, "\"port\":");
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port ? (uint16_t)atoi(port + 7) : 0)};
    struct timeval patience = {(time_t)number("patience"), 0};
    inet_pton(AF_INET, host, &target.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    if (connect(fd, (struct sockaddr *)&target, sizeof target) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 && recv(fd, &byte, 1, 0) == 1)
      outcome(true, "reached %s", host);
    close(fd);
  }
  outcome(false, "reached nobody");
}

static void abstract_socket(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char *plain = text("name");
  snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "%s", plain);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(plain));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  bool connected = connect(fd, (struct sockaddr *)&name, length) == 0;
  outcome(connected, "%s", connected ? "connected" : strerror(errno));
}

static void flood_of_log(void) {
  static char piece[MEGABYTE];
  bool lines = value("lines") && *value("lines") == 't';
  memset(piece, 'x', sizeof piece);
  for (size_t i = 1023; lines && i < sizeof piece; i += 1024) piece[i] = '\n';
  for (int left = (int)number("megabytes"); left > 0; left--)
    for (size_t written = 0; written < sizeof piece;) {
      ssize_t count = write(2, piece + written, sizeof piece - written);
      if (count <= 0) outcome(false, "the log takes no more");
      written += (size_t)count;
    }
  outcome(false, "how much is kept is seen from outside");
}

static const struct {
  const char *name;
  void (*attempt)(void);
} attacks[] = {
    {"calls", calls},
    {"processes", processes},
    {"threads", threads},
    {"spin", spin},
    {"memory", memory},
    {"memory_in_files", memory_in_files},
    {"fill", fill},
    {"fill_all", fill_all},
    {"inodes", inodes},
    {"descriptors", descriptors},
    {"ignore_the_end", ignore_the_end},
    {"environment", environment},
    {"command_line", command_line},
    {"write_for_a_neighbour", write_for_a_neighbour},
    {"signal_the_parents", signal_the_parents},
    {"kill_neighbour", kill_neighbour},
    {"trace_neighbour", trace_neighbour},
    {"signal_the_node", signal_the_node},
    {"set_user_program", set_user_program},
    {"core_dump", core_dump},
    {"leave", leave},
    {"find", find},
    {"search", search},
    {"create", create},
    {"open_to_write", open_to_write},
    {"shared_memory", shared_memory},
    {"connect", connect_to},
    {"abstract_socket", abstract_socket},
    {"flood_of_log", flood_of_log},
};

int main(int count, char **words) {
  arguments = count > 1 ? words[1] : "{}";
  char *name = text("attack");
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
    if (!strcmp(attacks[i].name, name)) attacks[i].attempt();
  outcome(false, "there is no attack named %s", name);
}
