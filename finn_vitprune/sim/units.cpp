// Binds a design of units to the driver: each unit is a model of its own, from the library of its structure, and this
// file carries the streams between them. It is in every cycle what one Verilog top of all units would be: at the rising
// edge each unit sees what stood at its pins before; then what changes at its pins goes to its neighbours until nothing
// changes any more, so that valid and ready may pass through as many units as they like.
//
// A unit sleeps, and is not evaluated, while that would change nothing. Evaluating it is a function of its state, in which its
// pins are, too: when a whole cycle left every byte as it was, and nothing at its pins changed in it, the next cycle does the
// same, and so does each one until something at its pins changes. Just before that the unit is evaluated at the last clock edge
// that it slept through, so that it goes on as if it had never slept. Looking costs a copy of the state and a comparison: a unit is
// looked at when its pins have been quiet for a while, which doubles when the state did change, and halves when it did not.
//
// Nothing is loaded: memories that are take their contents from files.
//
// The file "units" of the working folder says what there is, a line each (see units.py, its only writer):
//   unit LIBRARY FOLDER NAME   of the library's structure; memories are read from files in FOLDER
//   net BYTES FROM OUTPUT TO INPUT   from an output of a unit to an input of another; -1 0 is the driver
//   edge BYTES NET NET         an internal stream, the net before and the one behind its FIFO
#include "driver.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "verilated.h"

namespace {

constexpr size_t MOST_EVALS = 64;  // of a unit between two clock edges, on average
constexpr int64_t LEAST_QUIET = 4, MOST_QUIET = 1024;  // cycles before a unit is looked at
constexpr int64_t QUIET_BYTES = 1024;  // a unit with so many bytes of state is quiet for a cycle more

[[noreturn]] void fail(const std::string& text) {
    std::cerr << "units: " << text << std::endl;
    std::exit(3);
}

struct Net {
    size_t bytes;
    int from, to;  // units, -1 for the driver
    StreamPort source, sink;

    // Whether tdata or tvalid at the sink, tready at the source, is not yet what it is at the other end.
    bool sends() const { return *sink.valid != *source.valid || std::memcmp(sink.data, source.data, bytes); }
    bool answers() const { return *source.ready != *sink.ready; }
};

struct Placed {
    Unit unit;
    std::string name;
    std::vector<Net> written, read;
    bool waits = false;  // to be evaluated
    bool sleeps = false;
    int64_t slept_at = 0;          // the clock edge after which it fell asleep
    int64_t quiet = 0;             // whole cycles in which nothing at its pins changed
    int64_t patience = 0;          // look at it when it was quiet for so many
    std::vector<uint8_t> before{}; // its state a cycle ago
    Evaluations evaluations{};

    int64_t least_patience() const { return LEAST_QUIET + static_cast<int64_t>(unit.state_bytes) / QUIET_BYTES; }
    int64_t most_patience() const { return std::max(MOST_QUIET, least_patience()); }
    void eval(uint8_t clk) {
        *unit.clk = clk;
        unit.eval(unit.model);
        ++evaluations.done;
    }
};

struct Edge {
    size_t bytes, offset, before, behind;  // nets
    std::vector<const Placed*> units{};    // at these nets

    // While all of them sleep, nothing changes at these nets.
    bool sleeps() const {
        return std::all_of(units.begin(), units.end(), [](const Placed* placed) { return placed->sleeps; });
    }
};

class Design {
public:
    Design(VerilatedContext* context, Dut& dut) : dut_(dut) {
        std::ifstream file("units");
        if (!file) fail("there is no file \"units\" in the working folder");
        std::string line;
        while (std::getline(file, line)) read(context, line);
        for (auto& net : nets_) connect(net);
        for (auto& edge : edges_)
            for (size_t net : {edge.before, edge.behind})
                for (int end : {nets_[net].from, nets_[net].to})
                    if (end >= 0) edge.units.push_back(&units_[end]);
        mon_valid_.assign((2 * edges_.size() + 7) / 8, 0);
        mon_ready_ = mon_valid_;
        tap_data_.assign(tap_bytes_, 0);
        dut.clk = &clk_;
        dut.rst_n = &rst_n_;
        if (edges_.empty()) return;
        dut.mon_valid = mon_valid_.data();
        dut.mon_ready = mon_ready_.data();
        dut.tap_data = tap_data_.data();
    }

    void eval() {
        if (clk_) rise();
        else settle();
    }

    void skip(bool on) { skips_ = on; }

    uint64_t pins() const {
        uint64_t digest = 0;
        auto add = [&](uint8_t byte) { digest = (digest ^ byte) * 0x100000001B3ULL; };
        for (const auto& net : nets_) {
            for (size_t i = 0; i < net.bytes; ++i) add(net.sink.data[i]);
            for (const uint8_t* pin : {net.source.valid, net.sink.valid, net.source.ready, net.sink.ready}) add(*pin);
        }
        return digest;
    }

    std::vector<Evaluations> evaluations() const {
        std::vector<Evaluations> all;
        for (const auto& placed : units_) {
            all.push_back(placed.evaluations);
            if (placed.sleeps) all.back().skipped += std::max<int64_t>(0, 2 * (edge_ - placed.slept_at) - 1);
        }
        return all;
    }

    void finish() {
        for (auto& placed : units_) placed.unit.finish(placed.unit.model);
    }

private:
    void read(VerilatedContext* context, const std::string& line) {
        std::istringstream in(line);
        std::string kind;
        in >> kind;
        if (kind == "unit") {
            std::string library, folder, name;
            in >> library >> folder >> name;
            units_.push_back({make(context, library, folder), name, {}, {}});
            units_.back().patience = units_.back().least_patience();
        } else if (kind == "net") {
            Net net{};
            size_t output, input;
            in >> net.bytes >> net.from >> output >> net.to >> input;
            if (net.from >= 0) net.source = units_.at(net.from).unit.outputs.at(output);
            if (net.to >= 0) net.sink = units_.at(net.to).unit.inputs.at(input);
            nets_.push_back(net);
        } else if (kind == "edge") {
            Edge edge{0, tap_bytes_, 0, 0};
            in >> edge.bytes >> edge.before >> edge.behind;
            tap_bytes_ += edge.bytes;
            dut_.edge_bytes.push_back(edge.bytes);
            edges_.push_back(edge);
        } else fail("unknown word in \"units\": " + kind);
        if (!in) fail("a line of \"units\" ends too early: " + line);
    }

    // A unit reads the files of its memories in its first evaluation, from the working folder.
    Unit make(VerilatedContext* context, const std::string& library, const std::string& folder) {
        auto& bind = libraries_[library];
        if (!bind) {
            void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
            if (!handle) fail(dlerror());
            bind = reinterpret_cast<decltype(&bind_unit)>(dlsym(handle, "bind_unit"));
            if (!bind) fail(dlerror());
        }
        Unit unit{};
        std::string here(4096, '\0');
        if (!getcwd(here.data(), here.size()) || chdir(folder.c_str())) fail("cannot work in the folder " + folder);
        bind(context, unit);
        *unit.clk = *unit.rst_n = 0;
        unit.eval(unit.model);
        if (chdir(here.c_str())) fail("cannot work in the folder " + here);
        return unit;
    }

    // The driver has pins of its own at the nets that it drives or takes from.
    void connect(Net& net) {
        if (net.from < 0) dut_.inputs.push_back(net.source = own_pins(net.bytes));
        if (net.to < 0) dut_.outputs.push_back(net.sink = own_pins(net.bytes));
        (net.from < 0 ? driven_ : units_[net.from].written).push_back(net);
        (net.to < 0 ? taken_ : units_[net.to].read).push_back(net);
    }

    StreamPort own_pins(size_t bytes) {
        own_.emplace_back(bytes + 2, 0);
        uint8_t* pins = own_.back().data();
        return {pins, bytes, pins + bytes, pins + bytes + 1};
    }

    void rise() {
        ++edge_;
        for (auto& placed : units_)
            if (!placed.sleeps) placed.eval(1);
    }

    // The clock falls, and what changes between two edges goes its way. Ready goes against the streams: last unit first.
    void settle() {
        next_.clear();
        if (rst_n_ != reset_seen_)
            for (auto& placed : units_) touch(placed);
        reset_seen_ = rst_n_;
        for (size_t i = units_.size(); i-- > 0;)
            if (!units_[i].sleeps) wait_for(units_[i]);
        for (const auto& net : driven_) forth(net);
        for (const auto& net : taken_) back(net);
        for (const auto& placed : units_)
            if (!placed.sleeps) carry(placed);
        size_t evals = 0;
        while (!next_.empty()) {
            waiting_.swap(next_);
            next_.clear();
            evals += waiting_.size();
            for (Placed* placed : waiting_) evaluate(*placed);
            if (evals > MOST_EVALS * units_.size()) fail("valid and ready do not come to rest" + names(next_));
        }
        monitor();
        if (skips_)
            for (auto& placed : units_)
                if (!placed.sleeps) look_at(placed);
    }

    void evaluate(Placed& placed) {
        placed.waits = false;
        placed.eval(0);
        carry(placed);
    }

    void carry(const Placed& placed) {
        for (const auto& net : placed.written) forth(net);
        for (const auto& net : placed.read) back(net);
    }

    void forth(const Net& net) {
        if (!net.sends()) return;
        touch_ends(net);
        *net.sink.valid = *net.source.valid;
        std::memcpy(net.sink.data, net.source.data, net.bytes);
        if (net.to >= 0) wait_for(units_[net.to]);
    }

    void back(const Net& net) {
        if (!net.answers()) return;
        touch_ends(net);
        *net.source.ready = *net.sink.ready;
        if (net.from >= 0) wait_for(units_[net.from]);
    }

    void touch_ends(const Net& net) {
        if (net.from >= 0) touch(units_[net.from]);
        if (net.to >= 0) touch(units_[net.to]);
    }

    // Something at the pins of a unit is about to change.
    void touch(Placed& placed) {
        placed.quiet = -1;
        if (!placed.sleeps) return;
        placed.sleeps = false;
        if (edge_ > placed.slept_at) {
            placed.eval(1);
            placed.evaluations.skipped += 2 * (edge_ - placed.slept_at - 1);
        }
        wait_for(placed);
    }

    void wait_for(Placed& placed) {
        if (placed.waits) return;
        placed.waits = true;
        *placed.unit.clk = 0;
        *placed.unit.rst_n = rst_n_;
        next_.push_back(&placed);
    }

    // At the end of a cycle: whether the unit may sleep.
    void look_at(Placed& placed) {
        const Unit& unit = placed.unit;
        if (!unit.state_bytes || ++placed.quiet < placed.patience) return;
        if (placed.quiet == placed.patience) {
            placed.before.assign(unit.state, unit.state + unit.state_bytes);
        } else if (!std::memcmp(placed.before.data(), unit.state, unit.state_bytes)) {
            placed.sleeps = true;
            placed.slept_at = edge_;
            placed.patience = std::max(placed.least_patience(), placed.patience / 2);
        } else {
            placed.quiet = 0;
            placed.patience = std::min(placed.most_patience(), 2 * placed.patience);
        }
    }

    static std::string names(const std::vector<Placed*>& some) {
        std::string text;
        for (const Placed* placed : some) text += (text.empty() ? ": " : ", ") + placed->name;
        return text;
    }

    void monitor() {
        for (size_t i = 0; i < edges_.size(); ++i) {
            if (edges_[i].sleeps()) continue;
            const Net &before = nets_[edges_[i].before], &behind = nets_[edges_[i].behind];
            uint8_t valid = (*before.source.valid & 1) | (*behind.source.valid & 1) << 1;
            uint8_t ready = (*before.sink.ready & 1) | (*behind.sink.ready & 1) << 1;
            size_t byte = i / 4, shift = 2 * (i % 4);
            mon_valid_[byte] = (mon_valid_[byte] & ~(3 << shift)) | valid << shift;
            mon_ready_[byte] = (mon_ready_[byte] & ~(3 << shift)) | ready << shift;
            if (valid & ready & 2) std::memcpy(&tap_data_[edges_[i].offset], behind.source.data, edges_[i].bytes);
        }
    }

    Dut& dut_;
    uint8_t clk_ = 0, rst_n_ = 0, reset_seen_ = 0;
    bool skips_ = true;
    int64_t edge_ = 0;  // rising edges so far
    std::vector<Placed> units_;
    std::vector<Net> nets_, driven_, taken_;  // the last two: by the driver
    std::deque<std::vector<uint8_t>> own_;
    std::vector<Edge> edges_;
    size_t tap_bytes_ = 0;
    std::vector<uint8_t> mon_valid_, mon_ready_, tap_data_;
    std::map<std::string, decltype(&bind_unit)> libraries_;
    std::vector<Placed*> waiting_, next_;
};

Design* design;

}  // namespace

void bind_dut(VerilatedContext* context, Dut& dut) {
    design = new Design(context, dut);
    dut.eval = [] { design->eval(); };
    dut.finish = [] { design->finish(); };
    dut.skip = [](bool on) { design->skip(on); };
    dut.pins = [] { return design->pins(); };
    dut.evaluations = [] { return design->evaluations(); };
}
