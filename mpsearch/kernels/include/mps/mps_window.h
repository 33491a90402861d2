/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_WINDOW_H
#define MPS_WINDOW_H

#include <stdint.h>

#include "mps/mps_grid.h"
#include "mps/mps_params.h"

/* The part of a pooling window that lies inside the input: rows top .. bottom - 1, columns left .. right - 1. */
typedef struct {
  int32_t top, bottom, left, right;
} mps_region;

static inline mps_region mps_clip_window(const mps_window *window, int32_t y, int32_t x) {
  const int32_t top = y * window->stride_h - window->pad_top, left = x * window->stride_w - window->pad_left;
  const int32_t bottom = top + window->kernel_h, right = left + window->kernel_w;
  return (mps_region){.top = top < 0 ? 0 : top,
                      .bottom = bottom > window->input_h ? window->input_h : bottom,
                      .left = left < 0 ? 0 : left,
                      .right = right > window->input_w ? window->input_w : right};
}

/* The points of a region; none where the window lies outside altogether. */
static inline mps_grid mps_grid_of(const mps_window *window, const mps_region *region) {
  return (mps_grid){.rows = region->bottom > region->top ? (size_t)(region->bottom - region->top) : 0,
                    .columns = region->right > region->left ? (size_t)(region->right - region->left) : 0,
                    .row_step = (size_t)window->input_w * window->channels,
                    .column_step = window->channels};
}

/* Where the first point lies. */
static inline const int8_t *mps_first_of(const mps_window *window, const mps_region *region, const int8_t *input) {
  return input + ((size_t)region->top * window->input_w + (size_t)region->left) * window->channels;
}

#endif
