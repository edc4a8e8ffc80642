// Binds a design of units to the driver: each unit is a model of its own, from the library of its structure, and this
// file carries the streams between them. It is in every cycle what one Verilog top of all units would be: at the rising
// edge each unit sees what stood at its pins before; then what changes at its pins goes to its neighbours until nothing
// changes any more, so that valid and ready may pass through as many units as they like.
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
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "verilated.h"

namespace {

constexpr size_t MOST_EVALS = 64;  // of a unit between two clock edges, on average

[[noreturn]] void fail(const std::string& text) {
    std::cerr << "units: " << text << std::endl;
    std::exit(3);
}

struct Net {
    size_t bytes;
    int from, to;  // units, -1 for the driver
    StreamPort source, sink;

    // True when tdata or tvalid changed at the sink.
    bool forth() const {
        if (*sink.valid == *source.valid && !std::memcmp(sink.data, source.data, bytes)) return false;
        *sink.valid = *source.valid;
        std::memcpy(sink.data, source.data, bytes);
        return true;
    }
    // True when tready changed at the source.
    bool back() const {
        if (*source.ready == *sink.ready) return false;
        *source.ready = *sink.ready;
        return true;
    }
};

struct Edge {
    size_t bytes, offset, before, behind;  // nets
};

struct Placed {
    Unit unit;
    std::string name;
    std::vector<Net> written, read;  // nets between units
    bool waits = false;              // to be evaluated
};

class Design {
public:
    Design(VerilatedContext* context, Dut& dut) : dut_(dut) {
        std::ifstream file("units");
        if (!file) fail("there is no file \"units\" in the working folder");
        std::string line;
        while (std::getline(file, line)) read(context, line);
        for (auto& net : nets_) connect(net);
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

    void connect(Net& net) {
        if (net.from < 0) {
            dut_.inputs.push_back(net.sink);
            net.source = net.sink;
        } else if (net.to < 0) {
            dut_.outputs.push_back(net.source);
            net.sink = net.source;
        } else {
            units_[net.from].written.push_back(net);
            units_[net.to].read.push_back(net);
        }
    }

    void rise() {
        for (auto& placed : units_) {
            *placed.unit.clk = 1;
            *placed.unit.rst_n = rst_n_;
            placed.unit.eval(placed.unit.model);
        }
    }

    // The clock falls, and what changes between two edges goes its way. Ready goes against the streams: last unit first.
    void settle() {
        for (auto& placed : units_) {
            for (auto& net : placed.written) net.forth();
            for (auto& net : placed.read) net.back();
        }
        waiting_.clear();
        for (size_t i = units_.size(); i-- > 0;) {
            *units_[i].unit.clk = 0;
            *units_[i].unit.rst_n = rst_n_;
            waiting_.push_back(i);
            units_[i].waits = true;
        }
        size_t evals = 0;
        while (!waiting_.empty()) {
            next_.clear();
            for (size_t i : waiting_) evaluate(units_[i]);
            evals += waiting_.size();
            if (evals > MOST_EVALS * units_.size()) fail("valid and ready do not come to rest" + names(next_));
            waiting_.swap(next_);
        }
        if (!edges_.empty()) monitor();
    }

    void evaluate(Placed& placed) {
        placed.waits = false;
        placed.unit.eval(placed.unit.model);
        for (auto& net : placed.written)
            if (net.forth()) wake(net.to);
        for (auto& net : placed.read)
            if (net.back()) wake(net.from);
    }

    void wake(size_t i) {
        if (units_[i].waits) return;
        units_[i].waits = true;
        next_.push_back(i);
    }

    std::string names(const std::vector<size_t>& some) const {
        std::string text;
        for (size_t i : some) text += (text.empty() ? ": " : ", ") + units_[i].name;
        return text;
    }

    void monitor() {
        std::fill(mon_valid_.begin(), mon_valid_.end(), 0);
        std::fill(mon_ready_.begin(), mon_ready_.end(), 0);
        for (size_t i = 0; i < edges_.size(); ++i) {
            const Net &before = nets_[edges_[i].before], &behind = nets_[edges_[i].behind];
            uint8_t valid = (*before.source.valid & 1) | (*behind.source.valid & 1) << 1;
            uint8_t ready = (*before.sink.ready & 1) | (*behind.sink.ready & 1) << 1;
            mon_valid_[i / 4] |= valid << 2 * (i % 4);
            mon_ready_[i / 4] |= ready << 2 * (i % 4);
            if (valid & ready & 2) std::memcpy(&tap_data_[edges_[i].offset], behind.source.data, edges_[i].bytes);
        }
    }

    Dut& dut_;
    uint8_t clk_ = 0, rst_n_ = 0;
    std::vector<Placed> units_;
    std::vector<Net> nets_;
    std::vector<Edge> edges_;
    size_t tap_bytes_ = 0;
    std::vector<uint8_t> mon_valid_, mon_ready_, tap_data_;
    std::map<std::string, decltype(&bind_unit)> libraries_;
    std::vector<size_t> waiting_, next_;
};

Design* design;

}  // namespace

void bind_dut(VerilatedContext* context, Dut& dut) {
    design = new Design(context, dut);
    dut.eval = [] { design->eval(); };
    dut.finish = [] { design->finish(); };
}
