/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU plugin: counts the instructions that the guest executes, whatever its instruction set. With cycles=on it also estimates the cycles of a
   Cortex-M4 without wait states: a load takes 2 (1 right after another load or store), a multiple load or store 1 + registers, a division 7, a taken
   branch 2 more, everything else 1.

   Counted is what happens from entering mps_model_run, or count_begin, until its caller main, or count_end, goes on. What happens from entering a
   function run_l<number>_... of model.c until the next, or until mps_model_run goes on, belongs to that layer; what lies between, to layer -1.
   Each counted region ends with a report: "layer <number> <instructions> [<cycles>]" for each layer, then "counted <instructions> [<cycles>]".

   Debian ships QEMU with plugin support but without its header, hence the declarations.
   Build: gcc -O2 -shared -fPIC -o count_plugin.so count_plugin.c */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { PLAIN, BEGIN, END, MODEL, LAYER, CALLER, LAYERS = 4096 };

typedef struct {
  uint64_t instructions, cycles;
} tally;

typedef struct {
  tally cost;
  uint64_t start, end;
  int role, layer;
} block;

static tally layers[LAYERS], between;
static uint64_t previous_end;
static enum { OFF, REGION, RUN } counting;
static int current = -1;
static bool cycles_on;

static bool starts(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static unsigned registers_in(const char *text) {
  const char *open = strchr(text, '{');
  unsigned count = open ? 1 : 0;
  for (const char *at = open; at && *at && *at != '}'; at++) count += *at == ',';
  return count;
}

/* Cycles of one instruction; `memory` says whether the one before was a single load or store, and is updated. */
static unsigned cost(const char *text, bool *memory) {
  const bool after_memory = *memory;
  *memory = false;
  if (starts(text, "ldm") || starts(text, "stm") || starts(text, "push") || starts(text, "pop")) return 1 + registers_in(text);
  if (starts(text, "ldrd") || starts(text, "strd")) return 3;
  if (starts(text, "sdiv") || starts(text, "udiv")) return 7;
  if (!starts(text, "ldr") && !starts(text, "str")) return 1;
  *memory = true;
  return starts(text, "ldr") && !after_memory ? 2 : 1;
}

static void report(const char *what, tally cost) {
  char line[128];
  if (cycles_on)
    snprintf(line, sizeof line, "%s %llu %llu\n", what, (unsigned long long)cost.instructions, (unsigned long long)cost.cycles);
  else
    snprintf(line, sizeof line, "%s %llu\n", what, (unsigned long long)cost.instructions);
  qemu_plugin_outs(line);
}

static void begin(int what) {
  memset(layers, 0, sizeof layers);
  memset(&between, 0, sizeof between);
  current = -1;
  counting = what;
}

static void finish(void) {
  tally total = between;
  for (int i = 0; i < LAYERS; i++) {
    if (layers[i].instructions == 0) continue;
    char what[32];
    snprintf(what, sizeof what, "layer %d", i);
    report(what, layers[i]);
    total.instructions += layers[i].instructions;
    total.cycles += layers[i].cycles;
  }
  report("counted", total);
  counting = OFF;
}

static void on_execute(unsigned cpu, void *data) {
  const block *b = data;
  (void)cpu;
  if (b->role == BEGIN) begin(REGION);
  if (b->role == MODEL && counting == OFF) begin(RUN);
  if ((b->role == END && counting == REGION) || (b->role == CALLER && counting == RUN)) finish();
  if (b->role == MODEL) current = -1;
  if (b->role == LAYER) current = b->layer;
  if (counting != OFF && b->role != BEGIN) {
    tally *to = current >= 0 ? &layers[current] : &between;
    to->instructions += b->cost.instructions;
    to->cycles += b->cost.cycles + (previous_end != b->start ? 2 : 0);
  }
  previous_end = b->end;
}

static void find_role(block *b, const char *symbol) {
  if (!symbol) return;
  if (!strcmp(symbol, "count_begin")) b->role = BEGIN;
  if (!strcmp(symbol, "count_end")) b->role = END;
  if (!strcmp(symbol, "mps_model_run")) b->role = MODEL;
  if (!strcmp(symbol, "main")) b->role = CALLER;
  /* A digit must follow: a kernel may have a function such as run_line. */
  if (starts(symbol, "run_l") && symbol[5] >= '0' && symbol[5] <= '9' && strtol(symbol + 5, NULL, 10) < LAYERS) {
    b->role = LAYER;
    b->layer = (int)strtol(symbol + 5, NULL, 10);
  }
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb) {
  (void)id;
  const size_t count = qemu_plugin_tb_n_insns(tb);
  block *b = calloc(1, sizeof *b);
  find_role(b, qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0)));
  b->cost.instructions = count;
  b->start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
  bool memory = false;
  for (size_t i = 0; i < count; i++) {
    const struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
    b->end = qemu_plugin_insn_vaddr(instruction) + qemu_plugin_insn_size(instruction);
    if (!cycles_on) continue;
    char *text = qemu_plugin_insn_disas(instruction);
    b->cost.cycles += cost(text ? text + strspn(text, " ") : "", &memory);
    free(text);
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, NO_REGISTERS, b);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++) cycles_on |= !strcmp(argv[i], "cycles=on");
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  return 0;
}
