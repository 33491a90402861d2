/* SPDX-License-Identifier: Apache-2.0 */
/* Two 16-bit products an instruction: the SIMD instructions of Armv7E-M (Cortex-M4, M7, M33), by name of what they do.
   MPS_SIMD says whether the kernels use them, MPS_MVE whether there are the vectors of Armv8.1-M (Cortex-M55) beside them. -DMPS_EMULATE_SIMD runs
   the same kernels in portable C, for tests on a host. The assembly is volatile to keep its order: GCC's scheduler would otherwise hoist the
   unpacking and spill. */
#ifndef MPS_SIMD_H
#define MPS_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_MVE) && !defined(MPS_PORTABLE)
#define MPS_MVE 1
#else
#define MPS_MVE 0
#endif

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(MPS_PORTABLE)
#define MPS_SIMD 1
#elif defined(MPS_EMULATE_SIMD)
#define MPS_SIMD 1
#else
#define MPS_SIMD 0
#endif

/* Inlined for each constant it is called with; without optimisation, where constants would not be folded, that would only make code. */
#if defined(__GNUC__) && defined(__OPTIMIZE__)
#define MPS_INLINE static inline __attribute__((always_inline))
#else
#define MPS_INLINE static inline
#endif

/* A function of its own, with all registers for its loops; and what seldom runs. */
#if defined(__GNUC__)
#define MPS_APART static __attribute__((noinline))
#define MPS_SELDOM static __attribute__((noinline, cold))
#else
#define MPS_APART static
#define MPS_SELDOM static
#endif

/* GCC's first scheduler pulls all loads of an unrolled loop to its front, and then spills. */
#if defined(__GNUC__) && !defined(__clang__)
#define MPS_IN_ORDER __attribute__((optimize("no-schedule-insns")))
#else
#define MPS_IN_ORDER
#endif

/* Four int8 values, the first in the lowest byte; any alignment. */
static inline uint32_t mps_load_word(const void *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static inline void mps_store_word(void *bytes, uint32_t word) { memcpy(bytes, &word, sizeof word); }

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(MPS_PORTABLE)

/* Bytes 0 and 2, sign-extended into halves. */
static inline uint32_t mps_even_bytes(uint32_t word) {
  uint32_t pair;
  __asm__ volatile("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
  return pair;
}

/* Bytes 1 and 3, likewise. */
static inline uint32_t mps_odd_bytes(uint32_t word) {
  uint32_t pair;
  __asm__ volatile("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
  return pair;
}

/* sum + low half x low half + high half x high half. */
static inline int32_t mps_dual_product(uint32_t a, uint32_t b, int32_t sum) {
  __asm__ volatile("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* sum + the product of one half of each. */
static inline int32_t mps_low_product(uint32_t a, uint32_t b, int32_t sum) {
  __asm__ volatile("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* sum + low half of a x high half of b. */
static inline int32_t mps_cross_product(uint32_t a, uint32_t b, int32_t sum) {
  __asm__ volatile("smlabt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* The same where the sum to start from stays in its register. */
static inline int32_t mps_dual_product_from(uint32_t a, uint32_t b, int32_t start) {
  int32_t sum;
  __asm__ volatile("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(start));
  return sum;
}

static inline int32_t mps_cross_product_from(uint32_t a, uint32_t b, int32_t start) {
  int32_t sum;
  __asm__ volatile("smlabt %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(start));
  return sum;
}

/* The low halves, or the high halves, of two words: the first in the low half. */
static inline uint32_t mps_low_halves(uint32_t a, uint32_t b) {
  uint32_t pair;
  __asm__ volatile("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}

static inline uint32_t mps_high_halves(uint32_t a, uint32_t b) {
  uint32_t pair;
  __asm__ volatile("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(b), "r"(a));
  return pair;
}

/* Keeps a constant in a register, where the compiler would build it again; or a sum, whose terms the compiler would reorder. */
#define MPS_HOLD(value) __asm__("" : "+r"(value))

/* A stage of work on four values ends here: nothing of the next is mixed in, which would need more registers. */
#define MPS_HOLD_4(a, b, c, d) __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d))

/* The nearest value from -128 to 127. */
static inline int32_t mps_saturate(int32_t value) {
  int32_t byte;
  __asm__("ssat %0, #8, %1" : "=r"(byte) : "r"(value) : "cc");
  return byte;
}

/* Halves plus bytes 0 and 2, or bytes 1 and 3, each for itself. */
static inline uint32_t mps_add_even_bytes(uint32_t halves, uint32_t word) {
  uint32_t sums;
  __asm__("sxtab16 %0, %1, %2" : "=r"(sums) : "r"(halves), "r"(word));
  return sums;
}

static inline uint32_t mps_add_odd_bytes(uint32_t halves, uint32_t word) {
  uint32_t sums;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(sums) : "r"(halves), "r"(word));
  return sums;
}

/* The larger of two bytes, four times. */
static inline uint32_t mps_larger_bytes(uint32_t a, uint32_t b) {
  uint32_t larger;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(larger) : "r"(a), "r"(b) : "cc");
  return larger;
}

/* Four bytes minus four bytes, each for itself. */
static inline uint32_t mps_subtract_bytes(uint32_t a, uint32_t b) {
  uint32_t difference;
  __asm__("ssub8 %0, %1, %2" : "=r"(difference) : "r"(a), "r"(b) : "cc");
  return difference;
}

/* floor(a * b / 2^32) + addend. */
static inline int32_t mps_high_word(int32_t a, int32_t b, int32_t addend) {
  int32_t high;
  __asm__ volatile("smmla %0, %1, %2, %3" : "=r"(high) : "r"(a), "r"(b), "r"(addend));
  return high;
}

#else

static inline uint32_t mps_pair(int32_t low, int32_t high) { return ((uint32_t)low & 0xFFFFu) | (uint32_t)high << 16; }
static inline int32_t mps_low_half(uint32_t word) { return (int16_t)(uint16_t)word; }
static inline int32_t mps_high_half(uint32_t word) { return (int16_t)(uint16_t)(word >> 16); }
static inline uint32_t mps_even_bytes(uint32_t word) { return mps_pair((int8_t)(uint8_t)word, (int8_t)(uint8_t)(word >> 16)); }
static inline uint32_t mps_odd_bytes(uint32_t word) { return mps_even_bytes(word >> 8); }
static inline int32_t mps_low_product(uint32_t a, uint32_t b, int32_t sum) { return sum + mps_low_half(a) * mps_low_half(b); }
static inline int32_t mps_high_product(uint32_t a, uint32_t b, int32_t sum) { return sum + mps_high_half(a) * mps_high_half(b); }
static inline int32_t mps_cross_product(uint32_t a, uint32_t b, int32_t sum) { return sum + mps_low_half(a) * mps_high_half(b); }
static inline int32_t mps_dual_product(uint32_t a, uint32_t b, int32_t sum) { return mps_high_product(a, b, mps_low_product(a, b, sum)); }
#define mps_cross_product_from mps_cross_product
#define mps_dual_product_from mps_dual_product
static inline uint32_t mps_low_halves(uint32_t a, uint32_t b) { return (a & 0xFFFFu) | b << 16; }
static inline uint32_t mps_high_halves(uint32_t a, uint32_t b) { return a >> 16 | (b & 0xFFFF0000u); }
#if defined(__GNUC__)
#define MPS_HOLD(value) __asm__("" : "+r"(value))
#else
#define MPS_HOLD(value) (void)(value)
#endif
#define MPS_HOLD_4(a, b, c, d) (void)(a), (void)(b), (void)(c), (void)(d)
static inline int32_t mps_saturate(int32_t value) { return value < -128 ? -128 : value > 127 ? 127 : value; }
static inline uint32_t mps_add_halves(uint32_t a, uint32_t b) { return ((a + b) & 0xFFFFu) | ((a >> 16) + (b >> 16)) << 16; }
static inline uint32_t mps_add_even_bytes(uint32_t halves, uint32_t word) { return mps_add_halves(halves, mps_even_bytes(word)); }
static inline uint32_t mps_add_odd_bytes(uint32_t halves, uint32_t word) { return mps_add_halves(halves, mps_odd_bytes(word)); }
static inline uint32_t mps_larger_bytes(uint32_t a, uint32_t b) {
  uint32_t larger = 0;
  for (unsigned at = 0; at < 32; at += 8) larger |= ((int8_t)(uint8_t)(a >> at) >= (int8_t)(uint8_t)(b >> at) ? a : b) & 0xFFu << at;
  return larger;
}
static inline uint32_t mps_subtract_bytes(uint32_t a, uint32_t b) { return ((a | 0x80808080u) - (b & 0x7F7F7F7Fu)) ^ ((a ^ ~b) & 0x80808080u); }
#if defined(__ARM_ARCH_6M__)
/* Cortex-M0 multiplies 32 bits at most, and compilers would call a function for more. */
static inline int32_t mps_high_word(int32_t a, int32_t b, int32_t addend) {
  const int32_t a_low = a & 0xFFFF, a_high = a >> 16, b_low = b & 0xFFFF, b_high = b >> 16;
  const uint32_t low = (uint32_t)a_low * (uint32_t)b_low;
  const int32_t middle = a_high * b_low + (int32_t)(low >> 16), other = a_low * b_high + (middle & 0xFFFF);
  return a_high * b_high + (middle >> 16) + (other >> 16) + addend;
}
#else
static inline int32_t mps_high_word(int32_t a, int32_t b, int32_t addend) { return (int32_t)(((int64_t)a * b) >> 32) + addend; }
#endif

#endif
#endif
