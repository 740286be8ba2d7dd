/* A load client that costs little CPU: N keep-alive connections to 127.0.0.1, one thread, epoll.
 *
 * A request is head + prefix + body + suffix. Only head and prefix differ from one request to the next: the marker
 * @@UNIQUE-BYTES@@ (16 bytes) becomes 16 hex digits, and @@VALUE@@ (head only) becomes the next line of the values file.
 * The body is one buffer shared by all connections: mapped, or handed to sendfile() when it is big. Bodies of
 * answers are read, as a real client must (dropping them in the kernel flatters whoever uses sendfile), and counted.
 *
 * It runs until `count` requests are answered or no new one may start after `seconds`; the answers still due then get
 * PATIENCE_S more. A status other than the expected ones, a body of another size, an answer before the request was sent
 * or a lost connection ends the run with exit code 3. The result is one JSON object on standard output.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define UNIQUE_MARK "@@UNIQUE-BYTES@@"
#define UNIQUE_LEN 16
#define VALUE_MARK "@@VALUE@@"
#define VALUE_MARK_LEN 9
#define HEAD_MAX 8192
#define ANSWER_MAX 16384
#define MAX_CONNECTIONS 1024
#define MAX_EXPECTED 8
#define SENDFILE_FROM (16L << 20)
#define TURN_BYTES (4L << 20) /* what one connection may send before the others get their turn */
#define PATIENCE_S 120
#define FAILED 3

struct buffer {
    char *data;
    size_t len;
    int fd;
};

struct connection {
    int fd;
    bool is_busy;          /* a request is under way */
    bool is_reading_body;  /* the head of the answer was read */
    bool wants_out;        /* EPOLLOUT is armed */
    bool is_used;          /* has carried a whole request before: the server may have closed it meanwhile */
    bool must_close;       /* the answer said Connection: close */
    bool is_retry;         /* this request goes over its second connection */
    int status;
    char *head, *prefix;
    size_t head_len, sent, total;
    char answer[ANSWER_MAX + 1];
    size_t answer_len;
    int64_t body_left, body_len;
    double started_at;
};

static struct {
    int port, clients;
    long count;
    double seconds;
    int expected[MAX_EXPECTED];
    int expected_count;
    long expected_bytes;
    const char *run;
} options = {.clients = 1, .count = 1, .seconds = 10, .expected_bytes = -1, .run = "00000000"};

static struct buffer head_template, prefix_template, body, suffix, values;
static char **value_lines;
static size_t value_count;
static struct connection *connections;
static int epoll_fd;
static long started, answered, reconnects;
static int64_t bytes_sent, bytes_received;
static float *latencies_ms;
static double begun_at;
static char scratch[1 << 18];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, " (after %ld answers)\n", answered);
    va_end(args);
    exit(FAILED);
}

static struct buffer map_file(const char *path)
{
    struct buffer b = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    struct stat st;
    if (b.fd < 0 || fstat(b.fd, &st) < 0)
        fail("%s: %s", path, strerror(errno));
    b.len = (size_t)st.st_size;
    if (b.len == 0)
        return b;
    b.data = mmap(NULL, b.len, PROT_READ, MAP_PRIVATE, b.fd, 0);
    if (b.data == MAP_FAILED)
        fail("mmap %s: %s", path, strerror(errno));
    return b;
}

static void split_values(void)
{
    char *text = strndup(values.data, values.len);
    value_lines = calloc(values.len + 1, sizeof *value_lines);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        value_lines[value_count++] = line;
}

/* -- one request ------------------------------------------------------------------------------------------------- */

/* Copies a template and puts this request's unique digits and value into it. */
static size_t fill(char *to, size_t room, const struct buffer *template, const char *unique, const char *value)
{
    size_t out = 0;
    for (size_t i = 0; i < template->len;) {
        size_t left = template->len - i;
        const char *from = template->data + i, *put = from;
        size_t put_len = 1, skip = 1;
        if (*from == '@' && left >= UNIQUE_LEN && !memcmp(from, UNIQUE_MARK, UNIQUE_LEN)) {
            put = unique;
            put_len = skip = UNIQUE_LEN;
        } else if (value && *from == '@' && left >= VALUE_MARK_LEN && !memcmp(from, VALUE_MARK, VALUE_MARK_LEN)) {
            put = value;
            put_len = strlen(value);
            skip = VALUE_MARK_LEN;
        }
        if (out + put_len > room)
            fail("a request head does not fit");
        memcpy(to + out, put, put_len);
        out += put_len;
        i += skip;
    }
    return out;
}

static void watch(struct connection *c, bool out)
{
    if (c->wants_out == out)
        return;
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->wants_out = out;
}

static void connect_to_server(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    c->wants_out = c->is_used = c->must_close = false;
}

/* The pieces of the request from `sent` on. */
static int pieces(const struct connection *c, struct iovec *out, bool with_body)
{
    const struct iovec all[] = {{c->head, c->head_len},
                                {c->prefix, prefix_template.len},
                                {body.data, body.len},
                                {suffix.data, suffix.len}};
    size_t skip = c->sent;
    int n = 0;
    for (int i = 0; i < 4; i++) {
        if (i == 2 && !with_body && skip < all[i].iov_len)
            break;
        if (skip >= all[i].iov_len) {
            skip -= all[i].iov_len;
            continue;
        }
        out[n++] = (struct iovec){(char *)all[i].iov_base + skip, all[i].iov_len - skip};
        skip = 0;
    }
    return n;
}

static ssize_t send_some(const struct connection *c)
{
    size_t before_body = c->head_len + prefix_template.len;
    bool by_sendfile = (long)body.len >= SENDFILE_FROM;
    if (by_sendfile && c->sent >= before_body && c->sent < before_body + body.len) {
        off_t from = (off_t)(c->sent - before_body);
        return sendfile(c->fd, body.fd, &from, body.len - (size_t)from);
    }
    struct iovec iov[4];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)pieces(c, iov, !by_sendfile)};
    int more = by_sendfile && c->sent < before_body ? MSG_MORE : 0;
    return sendmsg(c->fd, &message, MSG_NOSIGNAL | more);
}

static void reconnect(struct connection *c)
{
    close(c->fd);
    connect_to_server(c);
    c->sent = 0;
    reconnects++;
}

static void pump(struct connection *c)
{
    long turn = 0;
    while (c->sent < c->total && turn < TURN_BYTES) {
        ssize_t n = send_some(c);
        if (n > 0) {
            c->sent += (size_t)n;
            bytes_sent += n;
            turn += n;
        } else if (errno == EAGAIN) {
            break;
        } else if (c->is_used && (errno == EPIPE || errno == ECONNRESET)) {
            /* either the server closed an idle connection, or it has answered early: the reading side knows */
            watch(c, false);
            return;
        } else if (errno != EINTR) {
            fail("send: %s", strerror(errno));
        }
    }
    watch(c, c->sent < c->total);
}

static bool may_start(void)
{
    return started < options.count && now() - begun_at < options.seconds;
}

static void start_request(struct connection *c)
{
    char unique[UNIQUE_LEN + 1];
    snprintf(unique, sizeof unique, "%.8s%08lx", options.run, started & 0xffffffffL);
    const char *value = value_count ? value_lines[(size_t)started % value_count] : NULL;
    started++;
    c->head_len = fill(c->head, HEAD_MAX, &head_template, unique, value);
    fill(c->prefix, prefix_template.len, &prefix_template, unique, NULL);
    c->total = c->head_len + prefix_template.len + body.len + suffix.len;
    c->sent = c->answer_len = 0;
    c->is_busy = true;
    c->is_reading_body = c->is_retry = false;
    c->started_at = now();
    pump(c);
}

/* -- its answer -------------------------------------------------------------------------------------------------- */

static void check_status(struct connection *c)
{
    for (int i = 0; i < options.expected_count; i++)
        if (options.expected[i] == c->status)
            return;
    ssize_t more = recv(c->fd, c->answer + c->answer_len, ANSWER_MAX - c->answer_len, MSG_DONTWAIT);
    c->answer[c->answer_len + (size_t)(more > 0 ? more : 0)] = 0;
    fail("unexpected status %d; the answer:\n%.2000s\n", c->status, c->answer);
}

static void finish_request(struct connection *c)
{
    check_status(c);
    if (c->sent < c->total)
        fail("status %d came before the request was sent (%zu of %zu bytes)", c->status, c->sent, c->total);
    if (options.expected_bytes >= 0 && c->body_len != options.expected_bytes)
        fail("a body of %ld bytes where %ld were expected", (long)c->body_len, options.expected_bytes);
    bytes_received += c->body_len;
    latencies_ms[answered++] = (float)((now() - c->started_at) * 1e3);
    c->is_busy = false;
    c->is_used = true;
    if (c->must_close) {
        reconnect(c);
        reconnects--;
    }
    if (may_start())
        start_request(c);
}

/* Reads the status line and the two headers that matter. Returns false until the head is whole. */
static bool read_head(struct connection *c)
{
    for (;;) {
        c->answer[c->answer_len] = 0;
        char *end = strstr(c->answer, "\r\n\r\n");
        if (!end) {
            if (c->answer_len == ANSWER_MAX)
                fail("the head of an answer is over %d bytes", ANSWER_MAX);
            return false;
        }
        size_t head_len = (size_t)(end - c->answer) + 4;
        if (sscanf(c->answer, "HTTP/1.%*d %d", &c->status) != 1)
            fail("not an HTTP answer: %.100s", c->answer);
        if (c->status >= 200) {
            c->body_len = c->status == 204 || c->status == 304 ? 0 : -1;
            for (char *line = strstr(c->answer, "\r\n"); line < end; line = strstr(line + 2, "\r\n")) {
                if (!strncasecmp(line + 2, "content-length:", 15))
                    c->body_len = atoll(line + 17);
                else if (!strncasecmp(line + 2, "connection: close", 17))
                    c->must_close = true;
            }
            if (c->body_len < 0) {
                check_status(c);
                fail("an answer without Content-Length");
            }
            c->body_left = c->body_len - (int64_t)(c->answer_len - head_len);
            if (c->body_left < 0)
                fail("more bytes than the answer announced");
            return true;
        }
        c->answer_len -= head_len; /* 1xx */
        memmove(c->answer, end + 4, c->answer_len);
    }
}

static void on_readable(struct connection *c)
{
    for (;;) {
        ssize_t n;
        if (c->is_reading_body) {
            size_t want = c->body_left < (int64_t)sizeof scratch ? (size_t)c->body_left : sizeof scratch;
            n = recv(c->fd, scratch, want, 0);
        } else {
            n = recv(c->fd, c->answer + c->answer_len, ANSWER_MAX - c->answer_len, 0);
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            bool is_stale = c->is_used && c->answer_len == 0 && !c->is_retry;
            if (c->is_busy && !is_stale)
                fail("connection lost: %s", n ? strerror(errno) : "closed");
            reconnect(c);
            if (c->is_busy) {
                c->is_retry = true;
                pump(c);
            }
            return;
        }
        if (!c->is_busy)
            fail("bytes that nobody asked for");
        if (c->is_reading_body) {
            c->body_left -= n;
        } else {
            c->answer_len += (size_t)n;
            if (!read_head(c))
                continue;
            c->is_reading_body = true;
        }
        if (c->body_left == 0) {
            finish_request(c);
            return;
        }
    }
}

/* -- the run ----------------------------------------------------------------------------------------------------- */

static void run(void)
{
    struct epoll_event events[256];
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options.clients; i++) {
        struct connection *c = &connections[i];
        c->head = malloc(HEAD_MAX);
        c->prefix = malloc(prefix_template.len + 1);
        connect_to_server(c);
    }
    begun_at = now();
    for (int i = 0; i < options.clients && may_start(); i++)
        start_request(&connections[i]);
    while (answered < started) {
        int n = epoll_wait(epoll_fd, events, 256, 1000);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            int fd = c->fd;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(c);
            if (c->fd == fd && (events[i].events & EPOLLOUT) && c->is_busy)
                pump(c);
        }
        if (now() - begun_at > options.seconds + PATIENCE_S)
            fail("%ld requests had no answer in time", started - answered);
    }
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double p)
{
    return answered ? latencies_ms[(long)(p * (double)(answered - 1))] : 0;
}

static void report(double seconds)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    qsort(latencies_ms, (size_t)answered, sizeof *latencies_ms, by_size);
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"bytes_sent\": %ld, \"bytes_received\": %ld, \"reconnects\": %ld, "
           "\"client_cpu_s\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
           answered, seconds, (long)bytes_sent, (long)bytes_received, reconnects, cpu, percentile(0.5), percentile(0.9),
           percentile(0.99), percentile(1));
}

static void parse_expected(char *list)
{
    for (char *s = strtok(list, ","); s && options.expected_count < MAX_EXPECTED; s = strtok(NULL, ","))
        options.expected[options.expected_count++] = atoi(s);
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"clients", required_argument, NULL, 'c'},
        {"count", required_argument, NULL, 'n'},   {"seconds", required_argument, NULL, 't'},
        {"head", required_argument, NULL, 'H'},    {"prefix", required_argument, NULL, 'P'},
        {"body", required_argument, NULL, 'B'},    {"suffix", required_argument, NULL, 'S'},
        {"values", required_argument, NULL, 'V'},  {"expect", required_argument, NULL, 'e'},
        {"expect-bytes", required_argument, NULL, 'b'}, {"run", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.clients = atoi(optarg); break;
        case 'n': options.count = atol(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'H': head_template = map_file(optarg); break;
        case 'P': prefix_template = map_file(optarg); break;
        case 'B': body = map_file(optarg); break;
        case 'S': suffix = map_file(optarg); break;
        case 'V': values = map_file(optarg); break;
        case 'e': parse_expected(optarg); break;
        case 'b': options.expected_bytes = atol(optarg); break;
        case 'r': options.run = optarg; break;
        default: exit(2);
        }
    }
    if (!options.port || !head_template.len || options.clients < 1 || options.clients > MAX_CONNECTIONS ||
        options.count < 1 || options.seconds <= 0 || !options.expected_count || strlen(options.run) != 8) {
        fprintf(stderr, "usage: load --port N --head FILE --expect STATUS[,STATUS] [--clients N] [--count N] [--seconds S]\n"
                        "            [--prefix FILE] [--body FILE] [--suffix FILE] [--values FILE] [--expect-bytes N]\n"
                        "            [--run EIGHT_HEX_DIGITS]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    if (values.len)
        split_values();
    connections = calloc((size_t)options.clients, sizeof *connections);
    latencies_ms = calloc((size_t)options.count, sizeof *latencies_ms);
    if (!connections || !latencies_ms)
        fail("out of memory");
    run();
    report(now() - begun_at);
    return 0;
}
