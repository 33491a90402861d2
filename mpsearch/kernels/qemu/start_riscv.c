/* SPDX-License-Identifier: Apache-2.0 */
/* A bare RISC-V processor under QEMU: start-up, and the console and exit of picolibc, by semihosting. */
#include <stdint.h>
#include <stdio.h>

int main(void);
void mps_start(void);

extern uint32_t data_stored, data_start, data_end, bss_start, bss_end;

enum { SYS_WRITEC = 0x03, SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026, FAULT = 99 };

/* QEMU knows a semihosting call by these three instructions in a row, uncompressed and on one page: hence a naked, aligned function. */
__attribute__((naked, noinline, aligned(16))) static void ask_host(uint32_t operation, const void *argument) {
  __asm__ volatile(
      ".option push\n\t.option norvc\n\t.option norelax\n\t"
      "slli zero, zero, 0x1f\n\tebreak\n\tsrai zero, zero, 7\n\tret\n\t.option pop");
}

__attribute__((noreturn)) static void stop(uint32_t status) {
  const uint32_t report[2] = {APPLICATION_EXIT, status};
  ask_host(SYS_EXIT_EXTENDED, report);
  for (;;) {
  }
}

__attribute__((used, aligned(4))) static void fault(void) {
  ask_host(SYS_WRITE0, "the processor took a fault\n");
  stop(FAULT);
}

__attribute__((used)) static void run(void) {
  const uint32_t *from = &data_stored;
  for (uint32_t *to = &data_start; to != &data_end;) *to++ = *from++;
  for (uint32_t *to = &bss_start; to != &bss_end;) *to++ = 0;
  stop((uint32_t)main());
}

__attribute__((naked, used, section(".start"))) void mps_start(void) {
  __asm__ volatile(
      ".option push\n\t.option norelax\n\tla gp, __global_pointer$\n\t.option pop\n\t"
      ".option push\n\t.option arch, +zicsr\n\tla sp, stack_top\n\tla t0, fault\n\tcsrw mtvec, t0\n\tla t0, run\n\tjr t0\n\t.option pop");
}

static int put(char character, FILE *file) {
  (void)file;
  ask_host(SYS_WRITEC, &character);
  return 0;
}

static FILE console = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdout = &console;
