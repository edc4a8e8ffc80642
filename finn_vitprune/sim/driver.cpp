// Runs beats from files through a Verilated design: CONFIG FOLDER SEED are the arguments, then plusargs.
//
// CONFIG is a list of words, FOLDER takes the results (see run.py, the only writer and reader of both).
// Sources pause and sinks stall with seeded generators of their own. All buffers exist before the first
// cycle; only captured tap data and words that are read may grow later. What goes through AXI4-Lite ports and load chains
// does so after each reset, before the streams start (cycle 0) or, with STREAMS_AT_ONCE, beside them. The run ends when every input beat went in, every
// expected output beat came out and DRAIN more cycles passed, or when nothing moved for IDLE_LIMIT
// cycles, or at MAX_CYCLES.
#include "driver.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "verilated.h"

namespace {

constexpr int SETTLE_CYCLES = 16;  // units are out of reset so many cycles after it ends at the latest (vp_reset)
constexpr int64_t PROGRESS_CYCLES = 1 << 16;

// Decides cycle by cycle whether a port is idle: a Bernoulli draw, then an idle time of 1..burst cycles.
struct Throttle {
    uint64_t state = 1;
    uint32_t threshold = 0;
    uint32_t burst = 1;
    uint32_t left = 0;

    uint32_t draw() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return static_cast<uint32_t>((state * 0x2545F4914F6CDD1DULL) >> 32);
    }
    bool idle() {
        if (threshold == 0) return false;
        if (left > 0) {
            --left;
            return true;
        }
        if (draw() >= threshold) return false;
        if (burst > 1) left = draw() % burst;
        return true;
    }
};

struct Source {
    StreamPort port;
    Throttle throttle;
    std::vector<uint8_t> beats;
    std::vector<int64_t> cycles;
    int64_t total = 0, next = 0;
    bool valid = false, accepted = false;
};

struct Sink {
    StreamPort port;
    Throttle throttle;
    std::vector<uint8_t> beats, held;
    std::vector<int64_t> cycles;
    int64_t total = 0, next = 0, extra = 0, violation = -1;
    bool ready = false, holding = false;
};

// What is at a port through which memories are loaded, cycle by cycle. next of total steps are done; violation is the
// first cycle of a breach.
struct Loader {
    Throttle throttle;
    int64_t next = 0, total = 0, violation = -1;
    std::vector<uint32_t> reads;

    virtual ~Loader() = default;
    virtual bool done() const { return next == total; }
    virtual void restart() = 0;
    virtual void drive() = 0;
    virtual bool sample(int64_t cycle) = 0;  // handshakes of this cycle, before the clock edge; true when anything moved
    virtual void advance() = 0;              // after the clock edge, so that the model saw the handshakes at the edge itself
};

// A master that executes steps of an AXI4-Lite port one by one: writes a word, reads one, reads until one is as it should be,
// waits. Address and data of a write are offered each at its own time; beside writes it reads all the time. A breach is an
// answer that nothing asked for or that does not stay until it is taken.
struct BusMaster : Loader {
    enum Kind : uint32_t { WRITE, READ, POLL, WAIT };
    struct Step {
        uint32_t kind, address, data, mask;
    };
    BusPort port;
    Throttle read_throttle;
    std::vector<Step> steps;
    uint32_t address_mask = 0;

    explicit BusMaster(const BusPort& bus) : port(bus) {
        address_mask = port.address_bits < 8 ? (1u << port.address_bits) - 1 : 0xFF;
        std::memset(port.wstrb, 0xF, 1);
    }
    void restart() override {
        next = waited_ = 0;
        reads.clear();
        address_ = data_ = response_ = asked_ = reading_ = holds_b_ = holds_r_ = false;
        for (uint8_t* pin : {port.awvalid, port.wvalid, port.bready, port.arvalid, port.rready}) *pin = 0;
    }
    void drive() override {
        if (done() && !reading_) return;
        drive_read();
        if (is(WRITE)) drive_write();
    }
    // Reads that are repeated do not count as movement: they continue when all else stands still.
    bool sample(int64_t cycle) override {
        aw_ = *port.awvalid && *port.awready;
        w_ = *port.wvalid && *port.wready;
        b_ = *port.bvalid && *port.bready;
        ar_ = *port.arvalid && *port.arready;
        r_ = *port.rvalid && *port.rready;
        uint32_t word = 0;
        std::memcpy(&word, port.rdata, 4);
        bool wrong = *port.bvalid ? !response_ || address_ || data_ : holds_b_;
        wrong |= *port.rvalid ? !reading_ || asked_ || (holds_r_ && word != held_) : holds_r_;
        if (wrong && violation < 0) violation = cycle;
        holds_b_ = *port.bvalid && !b_;
        holds_r_ = *port.rvalid && !r_;
        held_ = word;
        return aw_ || w_ || b_ || is(WAIT) || (is(READ) && !beside_ && (ar_ || r_));
    }
    void advance() override {
        if (aw_) {
            *port.awvalid = address_ = false;
            std::memset(port.awaddr, throttle.draw() & address_mask, 1);
        }
        if (w_) {
            *port.wvalid = data_ = false;
            std::memset(port.wdata, throttle.draw() & 0xFF, 4);
        }
        if (ar_) *port.arvalid = asked_ = false;
        if (r_) reading_ = *port.rready = false;
        if (b_) {
            response_ = *port.bready = false;
            ++next;
        } else if (r_ && !beside_) {
            if (is(READ)) reads.push_back(held_);
            next += is(READ) || (held_ & steps[next].mask) == steps[next].data;
        } else if (is(WAIT) && ++waited_ >= steps[next].data) {
            waited_ = 0;
            ++next;
        }
    }

private:
    bool is(Kind kind) const { return !done() && steps[next].kind == kind; }
    void drive_read() {
        if (!reading_ && (is(READ) || is(POLL) || is(WRITE))) {
            reading_ = asked_ = true;
            beside_ = is(WRITE);
            if (!beside_) read_address_ = steps[next].address;
        }
        if (asked_ && !*port.arvalid && !read_throttle.idle()) {
            *port.arvalid = 1;
            std::memcpy(port.araddr, &read_address_, port.address_bytes);
        }
        *port.rready = reading_ && !read_throttle.idle();
    }
    void drive_write() {
        if (!response_) address_ = data_ = response_ = true;
        if (address_ && !*port.awvalid && !throttle.idle()) {
            *port.awvalid = 1;
            std::memcpy(port.awaddr, &steps[next].address, port.address_bytes);
        }
        if (data_ && !*port.wvalid && !throttle.idle()) {
            *port.wvalid = 1;
            std::memcpy(port.wdata, &steps[next].data, 4);
        }
        *port.bready = !throttle.idle();
    }

    uint32_t waited_ = 0, read_address_ = 0;
    bool address_ = false, data_ = false, response_ = false;       // of this write, still to go out or to come
    bool asked_ = false, reading_ = false, beside_ = false;        // of this read
    bool holds_b_ = false, holds_r_ = false;
    uint32_t held_ = 0;
    bool aw_ = false, w_ = false, b_ = false, ar_ = false, r_ = false;
};

// The head and the end of a load chain in one: start, the words, and a last one that nobody keeps and that must come back. A chain
// cannot wait, so it begins when the unit is out of reset.
// A breach is anything else that comes back.
struct ChainMaster : Loader {
    ChainPort port;
    std::vector<uint32_t> words;

    explicit ChainMaster(const ChainPort& chain) : port(chain) {}
    bool done() const override { return back_ || total == 0; }
    void restart() override {
        next = 0;
        settling_ = SETTLE_CYCLES;
        started_ = start_back_ = back_ = false;
        put(0, 0);
    }
    void drive() override {
        if (settling_ > 0 || next == total || throttle.idle()) {
            put(0, throttle.draw());
            settling_ -= settling_ > 0;
        } else if (!started_) {
            put(2, throttle.draw());
            started_ = true;
        } else {
            put(1, words[next++]);
        }
    }
    bool sample(int64_t cycle) override {
        uint64_t out = 0;
        std::memcpy(&out, port.out, 8);
        bool start = out >> 33 & 1, valid = out >> 32 & 1;
        bool wrong = (start && (!started_ || start_back_)) || (valid && (!start_back_ || back_ || next < total));
        wrong |= valid && !wrong && static_cast<uint32_t>(out) != words[total - 1];
        if (wrong && violation < 0) violation = cycle;
        start_back_ |= start;
        back_ |= valid;
        return moved_ || start || valid;
    }
    void advance() override {}

private:
    void put(uint64_t control, uint32_t word) {
        uint64_t in = control << 32 | word;
        moved_ = control != 0;
        std::memcpy(port.in, &in, 8);
    }
    int settling_ = 0;
    bool started_ = false, start_back_ = false, back_ = false, moved_ = false;
};

struct Edge {
    int64_t in = 0, out = 0, max_fill = 0, last_in = -1, last_out = -1;
    size_t offset = 0, bytes = 0, tap_bytes = 0;  // to capture
    std::vector<uint8_t> tap;
};

struct Config {
    uint64_t seed = 1;
    int64_t idle_limit = 0, max_cycles = 0, drain = 0, reset_at = -1, reset_cycles = 0;
    bool progress = false, streams_at_once = false, skip = true, record = false;
};

[[noreturn]] void fail(const std::string& text) {
    std::cerr << "driver: " << text << std::endl;
    std::exit(3);
}

uint64_t mix(uint64_t x) {  // splitmix64, to seed the generators apart
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return (x ^ (x >> 31)) | 1;
}

void write_file(const std::string& path, const void* data, size_t bytes) {
    FILE* file = std::fopen(path.c_str(), "wb");
    if (!file || (bytes && std::fwrite(data, 1, bytes, file) != bytes) || std::fclose(file))
        fail("cannot write " + path + ": " + std::strerror(errno));
}

void read_beats(const std::string& path, std::vector<uint8_t>& beats, size_t bytes) {
    beats.resize(bytes);
    FILE* file = std::fopen(path.c_str(), "rb");
    if (!file || std::fread(beats.data(), 1, bytes, file) != bytes) fail("cannot read " + path);
    std::fclose(file);
}

class Run {
public:
    Run(const Dut& dut, const std::string& config, const std::string& folder) : dut_(dut), folder_(folder) {
        edges_.resize(dut.edge_bytes.size());
        size_t offset = 0;
        for (size_t i = 0; i < edges_.size(); ++i) {
            edges_[i].offset = offset;
            edges_[i].bytes = dut.edge_bytes[i];
            offset += edges_[i].bytes;
        }
        mon_words_ = (2 * edges_.size() + 63) / 64;
        fire_.assign(mon_words_, 0);
        ready_.assign(mon_words_, 0);
        read_config(config);
    }

    void go() {
        if (dut_.skip) dut_.skip(config_.skip);
        reset();
        while (step()) {}
        write_results();
        dut_.finish();
    }

private:
    void read_config(const std::string& path) {
        std::ifstream in(path);
        std::string word;
        size_t sources = 0, sinks = 0, buses = 0, chains = 0;
        while (in >> word) {
            if (word == "seed") in >> config_.seed;
            else if (word == "idle_limit") in >> config_.idle_limit;
            else if (word == "max_cycles") in >> config_.max_cycles;
            else if (word == "drain") in >> config_.drain;
            else if (word == "reset_at") in >> config_.reset_at;
            else if (word == "reset_cycles") in >> config_.reset_cycles;
            else if (word == "progress") in >> config_.progress;
            else if (word == "streams_at_once") in >> config_.streams_at_once;
            else if (word == "skip") in >> config_.skip;
            else if (word == "record") in >> config_.record;
            else if (word == "bus") {
                auto master = std::make_unique<BusMaster>(dut_.buses.at(buses++));
                read_throttle(in, master->throttle, (1ULL << 32) + loaders_.size(), master->total);
                master->read_throttle = master->throttle;
                master->read_throttle.state = mix(master->throttle.state);
                read_steps(master->steps, master->total);
                loaders_.push_back(std::move(master));
            } else if (word == "chain") {
                auto master = std::make_unique<ChainMaster>(dut_.chains.at(chains++));
                read_throttle(in, master->throttle, (1ULL << 32) + loaders_.size(), master->total);
                read_steps(master->words, master->total);
                loaders_.push_back(std::move(master));
            }
            else if (word == "in") {
                Source s;
                s.port = dut_.inputs.at(sources);
                read_throttle(in, s.throttle, 2 * sources, s.total);
                std::string stem = folder_ + "/in" + std::to_string(sources++);
                read_beats(stem + ".data", s.beats, s.total * s.port.bytes);
                s.cycles.assign(s.total, 0);
                sources_.push_back(std::move(s));
            } else if (word == "out") {
                Sink s;
                s.port = dut_.outputs.at(sinks);
                read_throttle(in, s.throttle, 2 * sinks++ + 1, s.total);
                s.beats.assign(s.total * s.port.bytes, 0);
                s.held.assign(s.port.bytes, 0);
                s.cycles.assign(s.total, 0);
                sinks_.push_back(std::move(s));
            } else if (word == "tap") {
                size_t edge, beats;
                in >> edge >> beats;
                edges_.at(edge).tap_bytes = beats * edges_.at(edge).bytes;
            } else fail("unknown word in the configuration: " + word);
        }
        if (sources_.size() != dut_.inputs.size() || sinks_.size() != dut_.outputs.size() ||
            buses != dut_.buses.size() || chains != dut_.chains.size())
            fail("the configuration does not name every port");
    }

    template <typename T>
    void read_steps(std::vector<T>& steps, int64_t total) {
        std::vector<uint8_t> bytes;
        read_beats(folder_ + "/load" + std::to_string(loaders_.size()) + ".data", bytes, sizeof(T) * total);
        steps.resize(total);
        if (total) std::memcpy(steps.data(), bytes.data(), bytes.size());
    }

    void read_throttle(std::ifstream& in, Throttle& throttle, uint64_t index, int64_t& total) {
        double share;
        in >> total >> share >> throttle.burst;
        throttle.threshold = static_cast<uint32_t>(share * 4294967295.0);
        throttle.state = mix(config_.seed * 1000003 + index);
    }

    void clock() {
        *dut_.clk = 1;
        dut_.eval();
        *dut_.clk = 0;
    }

    void reset() {
        for (auto& s : sources_) {
            s.next = 0;
            s.valid = s.accepted = false;
            *s.port.valid = 0;
        }
        for (auto& s : sinks_) {
            s.next = s.extra = 0;
            s.ready = s.holding = false;
            *s.port.ready = 0;
        }
        for (auto& e : edges_) {
            e.in = e.out = e.max_fill = 0;
            e.last_in = e.last_out = -1;
            e.tap.clear();
        }
        for (auto& l : loaders_) l->restart();
        *dut_.rst_n = 0;
        for (int64_t i = 0; i < config_.reset_cycles; ++i) {
            *dut_.clk = 0;
            dut_.eval();
            clock();
        }
        *dut_.rst_n = 1;
        cycle_ = last_move_ = 0;
        done_at_ = -1;
        load_cycles_ = 0;
        loading_ = !loaded() && !config_.streams_at_once;
    }

    bool loaded() const {
        return std::all_of(loaders_.begin(), loaders_.end(), [](const auto& l) { return l->done(); });
    }

    // A clock cycle before the streams start, in which an engine sends its first tag. False when the ports stand still.
    bool load() {
        for (auto& l : loaders_) l->drive();
        dut_.eval();
        bool moved = false;
        for (auto& l : loaders_) moved |= l->sample(load_cycles_);
        if (mon_words_) sample_edges();
        clock();
        for (auto& l : loaders_) l->advance();
        ++load_cycles_;
        last_move_ = moved ? load_cycles_ : last_move_;
        bool stuck = load_cycles_ - last_move_ >= config_.idle_limit;
        loading_ = !loaded();
        if (!loading_ || stuck) last_move_ = 0;
        return !stuck;
    }

    // One clock cycle. False when the run is over.
    bool step() {
        if (!loading_ && config_.reset_at >= 0 && cycle_ == config_.reset_at) {
            config_.reset_at = -1;
            reset();
        }
        if (loading_) return load();
        for (auto& s : sources_) {
            if (s.valid || s.next == s.total) continue;
            if (s.throttle.idle()) continue;
            s.valid = true;
            *s.port.valid = 1;
            std::memcpy(s.port.data, s.beats.data() + s.next * s.port.bytes, s.port.bytes);
        }
        for (auto& s : sinks_) {
            s.ready = !s.throttle.idle();
            *s.port.ready = s.ready;
        }
        for (auto& l : loaders_) l->drive();
        dut_.eval();
        if (config_.record && dut_.pins) pins_.push_back(dut_.pins());
        bool moved = false;
        for (auto& l : loaders_) moved |= l->sample(cycle_);
        for (auto& s : sources_) {
            if (!s.valid || !(*s.port.ready & 1)) continue;
            s.cycles[s.next++] = cycle_;
            s.accepted = moved = true;
        }
        for (auto& s : sinks_) moved |= sample(s);
        if (mon_words_) moved |= sample_edges();
        clock();
        // After the clock edge, so that the model saw the beat at the edge itself.
        for (auto& s : sources_) {
            if (!s.accepted) continue;
            s.accepted = s.valid = false;
            *s.port.valid = 0;
            if (s.throttle.threshold) std::memset(s.port.data, s.throttle.draw() & 0xFF, s.port.bytes);
        }
        for (auto& l : loaders_) l->advance();
        return proceed(moved);
    }

    bool sample(Sink& s) {
        bool valid = *s.port.valid & 1;
        if (s.holding && s.violation < 0 && (!valid || std::memcmp(s.held.data(), s.port.data, s.port.bytes)))
            s.violation = cycle_;
        s.holding = valid && !s.ready;
        if (s.holding) std::memcpy(s.held.data(), s.port.data, s.port.bytes);
        if (!valid || !s.ready) return false;
        if (s.next == s.total) {
            ++s.extra;
            return false;
        }
        std::memcpy(s.beats.data() + s.next * s.port.bytes, s.port.data, s.port.bytes);
        s.cycles[s.next++] = cycle_;
        return true;
    }

    bool sample_edges() {
        size_t bytes = (2 * edges_.size() + 7) / 8;
        std::memcpy(fire_.data(), dut_.mon_valid, bytes);
        std::memcpy(ready_.data(), dut_.mon_ready, bytes);
        bool moved = false;
        for (size_t w = 0; w < mon_words_; ++w) {
            uint64_t fire = fire_[w] & ready_[w];
            moved |= fire != 0;
            while (fire) {
                int bit = __builtin_ctzll(fire) & ~1;
                uint64_t pair = fire >> bit & 3;
                fire &= ~(3ULL << bit);
                count(edges_[w * 32 + bit / 2], pair & 1, pair & 2);
            }
        }
        return moved;
    }

    void count(Edge& e, bool in, bool out) {
        if (in) {
            ++e.in;
            e.last_in = cycle_;
        }
        if (out) {
            ++e.out;
            e.last_out = cycle_;
            const uint8_t* data = dut_.tap_data + e.offset;
            if (e.tap.size() < e.tap_bytes) e.tap.insert(e.tap.end(), data, data + e.bytes);
        }
        if (e.in - e.out > e.max_fill) e.max_fill = e.in - e.out;
    }

    bool proceed(bool moved) {
        ++cycle_;
        if (moved) last_move_ = cycle_;
        if (done_at_ < 0 && moved) {
            bool done = loaded();
            for (auto& s : sources_) done &= s.next == s.total;
            for (auto& s : sinks_) done &= s.next == s.total;
            // A reset that was asked for happens even when the beats run out before its time.
            if (done && config_.reset_at >= 0) config_.reset_at = cycle_;
            else if (done) done_at_ = cycle_;
        }
        if (config_.progress && cycle_ % PROGRESS_CYCLES == 0) report();
        if (done_at_ >= 0) {
            reason_ = "done";
            return cycle_ < done_at_ + config_.drain;
        }
        if (Verilated::gotFinish()) reason_ = "finish";
        else if (cycle_ - last_move_ >= config_.idle_limit) reason_ = "idle";
        else if (config_.max_cycles && cycle_ >= config_.max_cycles) reason_ = "max_cycles";
        else return true;
        return false;
    }

    void report() {
        int64_t out = 0;
        for (auto& s : sinks_) out += s.next;
        std::cout << "progress " << cycle_ << ' ' << out << std::endl;
    }

    void write_results() {
        std::ofstream status(folder_ + "/status");
        status << "end " << reason_ << ' ' << cycle_ << ' ' << last_move_ << '\n';
        for (size_t i = 0; i < sources_.size(); ++i) {
            auto& s = sources_[i];
            std::string stem = folder_ + "/in" + std::to_string(i);
            write_file(stem + ".cycles", s.cycles.data(), s.next * sizeof(int64_t));
            status << "in " << s.next << ' ' << s.valid << ' ' << (*s.port.ready & 1) << '\n';
        }
        for (size_t i = 0; i < sinks_.size(); ++i) {
            auto& s = sinks_[i];
            std::string stem = folder_ + "/out" + std::to_string(i);
            write_file(stem + ".data", s.beats.data(), s.next * s.port.bytes);
            write_file(stem + ".cycles", s.cycles.data(), s.next * sizeof(int64_t));
            status << "out " << s.next << ' ' << (*s.port.valid & 1) << ' ' << s.ready << ' '
                   << s.extra << ' ' << s.violation << '\n';
        }
        for (auto& l : loaders_) {
            status << "load " << l->next << ' ' << l->total << ' ' << load_cycles_ << ' ' << l->violation;
            for (uint32_t word : l->reads) status << ' ' << word;
            status << '\n';
        }
        for (size_t i = 0; i < edges_.size(); ++i) {
            auto& e = edges_[i];
            status << "edge " << e.in << ' ' << e.out << ' ' << e.max_fill << ' ' << e.last_in << ' '
                   << e.last_out;
            for (size_t side = 2 * i; side < 2 * i + 2; ++side)
                status << ' ' << (dut_.mon_valid[side / 8] >> side % 8 & 1) << ' '
                       << (dut_.mon_ready[side / 8] >> side % 8 & 1);
            status << '\n';
            std::string path = folder_ + "/tap" + std::to_string(i) + ".data";
            if (e.tap_bytes) write_file(path, e.tap.data(), e.tap.size());
        }
        if (config_.record) write_file(folder_ + "/pins", pins_.data(), pins_.size() * sizeof(uint64_t));
        if (dut_.evaluations)
            for (const auto& e : dut_.evaluations()) status << "unit " << e.done << ' ' << e.skipped << '\n';
        if (!status.flush()) fail(std::string("cannot write the status: ") + std::strerror(errno));
    }

    const Dut& dut_;
    std::string folder_, reason_ = "idle";
    Config config_;
    std::vector<Source> sources_;
    std::vector<Sink> sinks_;
    std::vector<std::unique_ptr<Loader>> loaders_;
    std::vector<Edge> edges_;
    std::vector<uint64_t> fire_, ready_, pins_;
    size_t mon_words_ = 0;
    int64_t cycle_ = 0, last_move_ = 0, done_at_ = -1, load_cycles_ = 0;
    bool loading_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) fail("usage: CONFIG FOLDER SEED [PLUSARG...]");
    VerilatedContext context;
    context.randReset(2);
    context.randSeed(std::atoi(argv[3]));
    context.commandArgs(argc, argv);  // which may say otherwise
    Dut dut;
    bind_dut(&context, dut);
    Run(dut, argv[1], argv[2]).go();
    return 0;
}
