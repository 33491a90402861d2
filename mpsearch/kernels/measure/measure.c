/* SPDX-License-Identifier: Apache-2.0 */
/* Answers requests, line by line: docs/measure-protocol.md. */
#include "measure.h"

#include <string.h>

#include "measure_port.h"

enum { PROTOCOL = 1, LONGEST = 255, FIELDS = sizeof(measure_layer) / sizeof(uint32_t) };

typedef struct {
  const char *name;
  measure_status (*measure)(const measure_layer *);
} operator_entry;

static const operator_entry OPERATORS[] = {
    {"conv2d", measure_conv2d}, {"depthwise", measure_depthwise}, {"dense", measure_dense},       {"add", measure_add_layer},
    {"mul", measure_mul},       {"max_pool", measure_max_pool},   {"avg_pool", measure_avg_pool}, {"mean", measure_mean},
    {"copy", measure_copy},     {"lookup", measure_lookup},
};

static const char *const REASONS[] = {
    [MEASURE_OK] = "",           [MEASURE_REQUEST] = "request", [MEASURE_UNSUPPORTED] = "unsupported",
    [MEASURE_MEMORY] = "memory", [MEASURE_REFUSED] = "refused", [MEASURE_DIFFERS] = "differs",
};

static void write_text(const char *text) {
  while (*text) port_write(*text++);
}

static void write_number(uint64_t value) {
  char digits[21];
  int count = 0;
  do digits[count++] = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  while (count > 0) port_write(digits[--count]);
}

/* The next line without its end. [out] 0 where there is none; a line that is too long is cut */
static int read_line(char line[LONGEST + 1]) {
  size_t length = 0;
  int byte = port_read();
  if (byte < 0) return 0;
  for (; byte >= 0 && byte != '\n'; byte = port_read()) {
    if (byte != '\r' && length < LONGEST) line[length++] = (char)byte;
  }
  line[length] = 0;
  return 1;
}

/* The next word of a line, ended by a zero; "" after the last. */
static char *next_word(char **at) {
  char *word = *at + strspn(*at, " "), *end = word + strcspn(word, " ");
  *at = *end ? end + 1 : end;
  *end = 0;
  return word;
}

static int read_number(const char *word, uint32_t *value) {
  *value = 0;
  if (*word == 0 || strlen(word) > 9) return 0;
  for (; *word; word++) {
    if (*word < '0' || *word > '9') return 0;
    *value = *value * 10 + (uint32_t)(*word - '0');
  }
  return 1;
}

/* "<number> <operator> <field> ..." [out] number  0 where it cannot be read */
static measure_status measure_request(char *line, uint32_t *number) {
  measure_layer layer;
  uint32_t fields[FIELDS];
  if (!read_number(next_word(&line), number)) return MEASURE_REQUEST;
  const char *name = next_word(&line);
  for (size_t i = 0; i < FIELDS; i++) {
    if (!read_number(next_word(&line), &fields[i])) return MEASURE_REQUEST;
  }
  if (*next_word(&line) != 0) return MEASURE_REQUEST;
  memcpy(&layer, fields, sizeof layer);
  measure_release();
  for (size_t i = 0; i < sizeof OPERATORS / sizeof *OPERATORS; i++) {
    if (strcmp(name, OPERATORS[i].name) == 0) return OPERATORS[i].measure(&layer);
  }
  return MEASURE_UNSUPPORTED;
}

static void say_hello(void) {
  write_text("hello ");
  write_number(PROTOCOL);
  write_text(" ");
  write_text(port.unit);
  write_text(" ");
  write_number(port.clock_hz);
  write_text(" ");
  write_text(port.description);
  write_text("\n");
}

static void answer(char *line) {
  uint32_t number = 0;
  const measure_status status = measure_request(line, &number);
  write_text(status == MEASURE_OK ? "ok " : "error ");
  write_number(number);
  write_text(" ");
  if (status == MEASURE_OK)
    write_number(measure_median());
  else
    write_text(REASONS[status]);
  write_text("\n");
}

int main(void) {
  char line[LONGEST + 1];
  port_start();
  while (read_line(line)) {
    char *rest = line;
    const char *word = next_word(&rest);
    if (strcmp(word, "hello") == 0)
      say_hello();
    else if (strcmp(word, "layer") == 0)
      answer(rest);
    else if (*word != 0)
      write_text("error 0 request\n");
  }
  return 0;
}
