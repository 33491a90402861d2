/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU plugin: counts the instructions that the guest executes between its functions count_begin and count_end, block by block, and estimates
   Cortex-M4 cycles without wait states: a load takes 2 (1 right after another load or store), a multiple load or store 1 + registers, a division 7,
   a taken branch 2 more, everything else 1. Debian ships QEMU with plugin support but without its header, hence the declarations.
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

enum { PLAIN, BEGIN, END };

typedef struct {
  uint64_t instructions, cycles, start, end;
  int role;
} block;

static uint64_t instructions, cycles, previous_end;
static bool counting;

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

static void on_execute(unsigned cpu, void *data) {
  const block *b = data;
  (void)cpu;
  if (b->role == BEGIN) {
    instructions = cycles = 0;
    counting = true;
  } else if (b->role == END && counting) {
    char line[96];
    counting = false;
    snprintf(line, sizeof line, "counted %llu %llu\n", (unsigned long long)instructions, (unsigned long long)cycles);
    qemu_plugin_outs(line);
  } else if (counting) {
    instructions += b->instructions;
    cycles += b->cycles + (previous_end != b->start ? 2 : 0);
  }
  previous_end = b->end;
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb) {
  (void)id;
  const size_t count = qemu_plugin_tb_n_insns(tb);
  block *b = calloc(1, sizeof *b);
  const char *symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
  b->role = symbol && !strcmp(symbol, "count_begin") ? BEGIN : symbol && !strcmp(symbol, "count_end") ? END : PLAIN;
  b->instructions = count;
  b->start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
  bool memory = false;
  for (size_t i = 0; i < count; i++) {
    const struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
    char *text = qemu_plugin_insn_disas(instruction);
    b->cycles += cost(text ? text + strspn(text, " ") : "", &memory);
    b->end = qemu_plugin_insn_vaddr(instruction) + qemu_plugin_insn_size(instruction);
    free(text);
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, NO_REGISTERS, b);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  return 0;
}
