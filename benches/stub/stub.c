/* The smallest function: an ActionLoop executable that answers every line with {}, PAUSE microseconds later. */
#define _DEFAULT_SOURCE
#include <unistd.h>

int main(void) {
    static char line[1 << 16];
    static const char ack[] = "{\"ok\":true}\n", answer[] = "{}\n";
    if (write(3, ack, sizeof ack - 1) < 0) return 1;
    for (;;) {
        ssize_t got = read(0, line, sizeof line);
        if (got <= 0) return 0;
        for (ssize_t i = 0; i < got; i++) {
            if (line[i] != '\n') continue;
            if (PAUSE > 0) usleep(PAUSE);
            if (write(3, answer, sizeof answer - 1) < 0) return 1;
        }
    }
}
