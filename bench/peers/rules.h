// The first of N rules that a packet matches, whatever they are: ranges of addresses and ports, by a decision tree a
// protocol, as pktflow's acl has (HiCuts: Gupta, McKeown 1999, with a middle child for what reaches over many, after EffiCuts:
// Vamanan et al. 2010). Made once; nobody changes it.
#ifndef RULES_H
#define RULES_H
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum key { FROM, TO, FROM_PORT, TO_PORT, KEYS };
#define SMALL 8
#define MOST_COPIES 4
#define NO_RULE UINT32_MAX

struct rule {
  // Of each key, both included.
  uint32_t low[KEYS], high[KEYS];
  uint32_t index;
  bool accept;
  uint64_t hits;
};

struct tree {
  // The first rule in it.
  uint32_t first;
  // Of a leaf: so many rules in their order. Of a node 0.
  uint32_t count;
  struct rule **rules;
  // Of a node: children of 2^shift values of a key from `base` on.
  uint32_t key, shift, base, children;
  struct tree *middle, **child;
};

// One after another: GCC would load all four keys as a vector right behind their stores, and wait for those.
static inline bool is_inside(const struct rule *rule, const uint32_t *keys) {
  return keys[TO_PORT] - rule->low[TO_PORT] <= rule->high[TO_PORT] - rule->low[TO_PORT] &&
         keys[FROM] - rule->low[FROM] <= rule->high[FROM] - rule->low[FROM] &&
         keys[TO] - rule->low[TO] <= rule->high[TO] - rule->low[TO] &&
         keys[FROM_PORT] - rule->low[FROM_PORT] <= rule->high[FROM_PORT] - rule->low[FROM_PORT];
}

// The better of `best` (0: none) and the first that matches.
static struct rule *match(const struct tree *tree, const uint32_t *keys, struct rule *best) {
  while (tree && (!best || tree->first < best->index)) {
    if (tree->count) {
      for (uint32_t i = 0; i < tree->count && (!best || tree->rules[i]->index < best->index); i++)
        if (is_inside(tree->rules[i], keys)) return tree->rules[i];
      return best;
    }
    uint32_t at = (keys[tree->key] >> tree->shift) - tree->base;
    if (at < tree->children && tree->child[at]) best = match(tree->child[at], keys, best);
    tree = tree->middle;
  }
  return best;
}

static double bits(uint32_t n) {
  int whole = 31 - __builtin_clz(n + 1);
  return whole + (double)(n + 1 - (1u << whole)) / (1u << whole);
}

struct cut {
  uint32_t key, shift, base, children;
  double cost;
};

static bool to_middle(const struct rule *rule, struct cut cut, uint32_t *from, uint32_t *to) {
  *from = (rule->low[cut.key] >> cut.shift) - cut.base;
  *to = (rule->high[cut.key] >> cut.shift) - cut.base;
  return *from >= cut.children || *to >= cut.children || *to - *from >= MOST_COPIES;
}

// What is left to do for a packet behind a cut, in doublings of rules; huge where it is of no use.
static double cost_of(struct cut cut, struct rule **rules, uint32_t count, uint32_t *each) {
  uint32_t middle = 0, placed = 0, from, to;
  memset(each, 0, cut.children * sizeof *each);
  for (uint32_t i = 0; i < count; i++) {
    if (to_middle(rules[i], cut, &from, &to)) middle++;
    else for (; from <= to; from++) each[from]++, placed++;
  }
  if (!placed || middle == count || placed + middle > count + count / 2) return 1e9;
  double cost = bits(middle) + 0.2 * bits(cut.children);
  for (uint32_t i = 0; i < cut.children; i++) {
    if (each[i] == count) return 1e9;
    if (each[i]) cost += each[i] * bits(each[i]) / placed;
  }
  return cost;
}

static struct cut best_cut(struct rule **rules, uint32_t count) {
  struct cut best = {.cost = bits(count)};
  uint32_t most = 16;
  while (most * 2 <= count) most *= 2;
  uint32_t *each = malloc(most * sizeof *each);
  for (uint32_t key = 0; key < KEYS; key++) {
    uint32_t last = key < FROM_PORT ? UINT32_MAX : 65535, low = UINT32_MAX, high = 0;
    for (uint32_t i = 0; i < count; i++) {
      if (rules[i]->low[key] == 0 && rules[i]->high[key] == last) continue;
      if (rules[i]->low[key] < low) low = rules[i]->low[key];
      if (rules[i]->high[key] > high) high = rules[i]->high[key];
    }
    if (low > high) continue;
    uint32_t shift = 0;
    while ((high >> shift) - (low >> shift) >= most) shift++;
    for (int tries = 0; tries < 5 && shift < 32; tries++, shift += 2) {
      struct cut cut = {key, shift, low >> shift, (high >> shift) - (low >> shift) + 1, 0};
      cut.cost = cost_of(cut, rules, count, each);
      if (cut.children > 1 && cut.cost < best.cost) best = cut;
    }
  }
  free(each);
  return best;
}

// 0 for no rules.
static struct tree *grow(struct rule **rules, uint32_t count) {
  if (!count) return 0;
  struct tree *tree = calloc(1, sizeof *tree);
  tree->first = rules[0]->index;
  struct cut cut = count > SMALL ? best_cut(rules, count) : (struct cut){0};
  struct rule **some = malloc(count * sizeof *some);
  uint32_t from, to, length = 0;
  if (!cut.children) {
    memcpy(some, rules, count * sizeof *some);
    tree->count = count, tree->rules = some;
    return tree;
  }
  tree->key = cut.key, tree->shift = cut.shift, tree->base = cut.base, tree->children = cut.children;
  for (uint32_t i = 0; i < count; i++)
    if (to_middle(rules[i], cut, &from, &to)) some[length++] = rules[i];
  tree->middle = grow(some, length);
  tree->child = calloc(cut.children, sizeof *tree->child);
  for (uint32_t child = 0; child < cut.children; child++) {
    length = 0;
    for (uint32_t i = 0; i < count; i++)
      if (!to_middle(rules[i], cut, &from, &to) && from <= child && child <= to) some[length++] = rules[i];
    tree->child[child] = grow(some, length);
  }
  free(some);
  return tree;
}
#endif
