// A program whose symbols have each form that C++ names take: see corpus_test.go.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#define KEEP __attribute__((noinline, used))

namespace shop {
inline namespace v2 {
struct Base {
  virtual ~Base() {}
  KEEP virtual int weight(int n) { return n; }
};
struct Other {
  virtual ~Other() {}
  KEEP virtual Other *self() { return this; }
};
struct Item : Base, Other, virtual std::stringstream {
  KEEP int weight(int n) override { return n + 1; }
  KEEP Item *self() override { return this; }
  KEEP explicit operator bool() const { return true; }
  KEEP operator std::string() const { return "item"; }
  KEEP operator std::vector<std::pair<int, std::string>>() const { return {}; }
  using Call = int (*)();
  KEEP operator Call() const { return nullptr; }
  KEEP Item &operator+=(int) { return *this; }
  KEEP int operator()(int a, int b) const { return a + b; }
  KEEP int operator[](int a) const { return a; }
  KEEP bool operator<(const Item &) const { return false; }
  KEEP void *operator new(std::size_t n) { return ::operator new(n); }
  KEEP void operator delete(void *p) { ::operator delete(p); }
};
template <typename T, int N = 3> struct Box {
  T value;
  KEEP T &get() { return value; }
  KEEP const T &get() const { return value; }
  template <typename F> KEEP auto apply(F f) { return f(value); }
  struct Inner {
    KEEP int depth() { return N; }
  };
};
template <typename... A> KEEP int count(A...) { return sizeof...(A); }
__attribute__((abi_tag("fast"))) KEEP int tagged() { return 1; }
KEEP int overloaded(int) { return 1; }
KEEP int overloaded(const std::string &) { return 2; }
}  // namespace v2
namespace {
KEEP int hidden(int n) { return n * 3; }
struct Local {
  KEEP int run() { return 4; }
};
}  // namespace
KEEP unsigned long long operator""_kg(unsigned long long n) { return n; }
}  // namespace shop

KEEP static int plain(int n) {
  struct Counter {
    int n = 0;
    KEEP int next() { return ++n; }
  } counter;
  auto add = [n](int m) { return n + m; };
  std::function<int(int)> erased = [add](int m) { return add(m) * 2; };
  auto generic = [](auto x) { return x + x; };
  return counter.next() + erased(n) + generic(n) + static_cast<int>(generic(1.5));
}

static std::map<std::string, std::vector<int>> global = {{"a", {1, 2}}};
thread_local std::string per_thread = "x";

int main(int argc, char **argv) {
  using namespace shop;
  Item item;
  Box<std::map<int, std::string>> box;
  Box<Item *, 5>::Inner inner;
  std::unordered_map<std::string, std::unique_ptr<Base>> owned;
  owned["x"] = std::make_unique<Item>();
  std::variant<int, std::string> either = std::string(argv[0]);
  std::regex pattern("a+b*");
  std::vector<std::tuple<int, std::string>> list{{3, "c"}, {1, "a"}};
  std::sort(list.begin(), list.end(), [](auto &a, auto &b) { return std::get<0>(a) < std::get<0>(b); });
  std::set<std::string, std::greater<>> ordered{"p", "q"};
  std::thread worker([&] { global["t"].push_back(1); });
  worker.join();
  std::string text = item;
  std::vector<std::pair<int, std::string>> pairs = item;
  int (*call)() = item;
  item += 3;
  int total = plain(argc) + item(1, 2) + item[3] + (item < item) + inner.depth() + count(1, "a", 2.0) + tagged() +
              overloaded(1) + overloaded("x") + hidden(2) + Local{}.run() + static_cast<int>(3_kg) +
              static_cast<int>(box.apply([](auto &m) { return m.size(); })) + (call == nullptr) +
              std::visit([](auto &v) { return static_cast<int>(sizeof v); }, either) +
              std::regex_match(text, pattern) + item.self()->weight(2) + static_cast<int>(pairs.size());
  box.get()[1] = per_thread;
  delete new Item;
  std::cout << total << list.size() << ordered.size() << static_cast<bool>(item) << std::endl;
}
