# Vivado's commands for tclsh, with the options that they are documented with and no others: an unknown command, an unknown or
# shortened option, an option without its value, too few or too many arguments are errors. Every call is a line in the file
# $record: its name, options and arguments between tabs, of these each word (of a list argument each element) between "|".
#
# `document` takes the syntax as it stands in the Vivado Design Suite Tcl Command Reference Guide (UG835). The guide has a page
# for each command, https://docs.amd.com/r/en-US/ug835-vivado-tcl-commands/<command>; the version after the name is that in which
# the page was read. "UG835 by quotation": the syntax was read in a public copy of the page's text, not on the page itself.

namespace eval vivado {
    variable options
    variable positions
    variable state
    array set state {read {} cells {} ports {} pblocks {} interfaces {} maps {} synthesised 0 project 0}
}

# Options with 1 where they take a value, and the fewest and most positional arguments, of a syntax.
proc vivado::document {name source syntax} {
    variable options
    variable positions
    set known {}
    set least 0
    set most 0
    set text [regsub -all {\s+} $syntax { }]
    while {$text ne ""} {
        set text [string trimleft $text]
        if {[regexp {^\[(-\w+) <args?>\] ?(.*)$} $text -> option text] || [regexp {^(-\w+) <args?> ?(.*)$} $text -> option text]} {
            dict set known $option 1
        } elseif {[regexp {^\[(-\w+)\] ?(.*)$} $text -> option text]} {
            dict set known $option 0
        } elseif {[regexp {^\[<\w+>(\.\.\.)?\] ?(.*)$} $text -> several text]} {
            set most [expr {$several eq "" ? $most + 1 : 999}]
        } elseif {[regexp {^<\w+>(\.\.\.)? ?(.*)$} $text -> several text]} {
            incr least
            set most [expr {$several eq "" ? $most + 1 : 999}]
        } else {
            error "syntax of $name: $text"
        }
    }
    set options($name) $known
    set positions($name) [list $least $most]
    proc ::$name args "return \[vivado::call [list $name] \$args\]"
}

proc vivado::call {name words} {
    variable options
    variable positions
    set given {}
    set rest {}
    while {[llength $words]} {
        set words [lassign $words word]
        if {![string match -* $word]} {
            lappend rest $word
        } elseif {![dict exists $options($name) $word]} {
            error "$name has no option $word"
        } elseif {![dict get $options($name) $word]} {
            dict set given $word 1
        } elseif {![llength $words]} {
            error "$name $word needs a value"
        } else {
            set words [lassign $words value]
            dict set given $word $value
        }
    }
    lassign $positions($name) least most
    if {[llength $rest] < $least || [llength $rest] > $most} {
        error "$name takes $least to $most arguments, not [llength $rest]: $rest"
    }
    note [join [list $name [join $given |] [join [concat {*}$rest] |]] \t]
    set action do_[string map {:: _} $name]
    if {[llength [info procs ::vivado::$action]]} {
        return [$action $given $rest]
    }
}

proc vivado::note {call} {
    set file [open $::record a]
    puts $file $call
    close $file
}

# Project and files.
vivado::document create_project {UG835 by quotation} {[-part <arg>] [-force] [-in_memory] [-ip] [-rtl_kernel] [-quiet] [-verbose] [<name>] [<dir>]}
vivado::document close_project {UG835 by quotation} {[-delete] [-quiet] [-verbose]}
vivado::document add_files {UG835 2020.2 by quotation} {[-fileset <arg>] [-of_objects <args>] [-norecurse] [-copy_to <arg>] [-force] [-scan_for_includes] [-quiet] [-verbose] [<files>...]}
vivado::document current_fileset {UG835 by quotation} {[-constrset] [-simset] [-quiet] [-verbose] [<fileset>...]}
vivado::document update_compile_order {UG835 by quotation} {[-force_gui] [-fileset <arg>] [-quiet] [-verbose]}
vivado::document set_property {UG835 by quotation} {[-dict <args>] [-quiet] [-verbose] <name> <value> <objects>...}
vivado::document read_verilog {UG835 by quotation} {[-library <arg>] [-sv] [-quiet] [-verbose] <files>...}
vivado::document read_mem {UG835 2022.2} {[-quiet] [-verbose] <files>...}
vivado::document read_xdc {UG835 by quotation} {[-cells <args>] [-ref <arg>] [-quiet_diff_pairs] [-mode <arg>] [-unmanaged] [-no_add] [-quiet] [-verbose] <files>}
vivado::document open_checkpoint {UG835 2023.1} {[-part <arg>] [-ignore_timing] [-quiet] [-verbose] <file>}
vivado::document write_checkpoint {UG835 2023.1} {[-force] [-cell <arg>] [-logic_function_stripped] [-encrypt] [-key <arg>] [-quiet] [-verbose] [<file>]}

# Synthesis and implementation.
vivado::document synth_design {UG835 2025.2} {[-name <arg>] [-part <arg>] [-constrset <arg>] [-top <arg>]
    [-include_dirs <args>] [-generic <args>] [-define <args>] [-verilog_define <args>] [-vhdl_define <args>]
    [-flatten_hierarchy <arg>] [-gated_clock_conversion <arg>] [-directive <arg>] [-rtl] [-lint] [-file <arg>] [-bufg <arg>] [-no_lc]
    [-lut_cascade] [-shreg_min_size <arg>] [-mode <arg>] [-fsm_extraction <arg>] [-rtl_skip_mlo] [-rtl_skip_ip]
    [-rtl_skip_constraints] [-srl_style <arg>] [-keep_equivalent_registers] [-resource_sharing <arg>] [-cascade_dsp <arg>]
    [-control_set_opt_threshold <arg>] [-incremental_mode <arg>] [-max_bram <arg>] [-max_uram <arg>] [-max_dsp <arg>]
    [-max_bram_cascade_height <arg>] [-max_uram_cascade_height <arg>] [-global_retiming <arg>] [-no_srlextract] [-assert]
    [-no_timing_driven] [-sfcu] [-debug_log] [-quiet] [-verbose]}
vivado::document opt_design {UG835 by quotation} {[-retarget] [-propconst] [-sweep] [-bram_power_opt] [-remap] [-aggressive_remap] [-resynth_area] [-resynth_seq_area]
    [-directive <arg>] [-muxf_remap] [-hier_fanout_limit <arg>] [-bufg_opt] [-shift_register_opt] [-dsp_register_opt] [-srl_remap_modes <arg>]
    [-control_set_merge] [-merge_equivalent_drivers] [-carry_remap] [-debug_log] [-property_opt_only] [-quiet] [-verbose]}
vivado::document place_design {UG835 by quotation} {[-directive <arg>] [-no_timing_driven] [-timing_summary] [-unplace] [-post_place_opt] [-no_psip] [-no_bufg_opt] [-quiet] [-verbose]}
vivado::document phys_opt_design {UG835 by quotation} {[-fanout_opt] [-placement_opt] [-routing_opt] [-slr_crossing_opt] [-rewire] [-insert_negative_edge_ffs]
    [-critical_cell_opt] [-dsp_register_opt] [-bram_register_opt] [-uram_register_opt] [-bram_enable_opt] [-shift_register_opt] [-hold_fix]
    [-aggressive_hold_fix] [-retime] [-force_replication_on_nets <args>] [-directive <arg>] [-critical_pin_opt] [-clock_opt]
    [-path_groups <args>] [-tns_cleanup] [-sll_reg_hold_fix] [-quiet] [-verbose]}
vivado::document route_design {UG835 by quotation, which prints -max_delay and -min_delay without brackets} {[-unroute] [-release_memory] [-nets <args>] [-physical_nets] [-pins <arg>] [-directive <arg>]
    [-tns_cleanup] [-no_timing_driven] [-preserve] [-delay] [-auto_delay] [-max_delay <arg>] [-min_delay <arg>] [-timing_summary] [-finalize]
    [-ultrathreads] [-eco] [-quiet] [-verbose]}

# Reports.
vivado::document report_utilization {UG835 2023.1} {[-file <arg>] [-append] [-pblocks <args>] [-evaluate_pblock] [-exclude_child_pblocks]
    [-exclude_non_assigned] [-cells <args>] [-return_string] [-slr] [-packthru] [-name <arg>] [-no_primitives] [-omit_locs] [-hierarchical]
    [-spreadsheet_file <arg>] [-spreadsheet_table <arg>] [-spreadsheet_depth <arg>] [-hierarchical_depth <arg>] [-hierarchical_percentages]
    [-quiet] [-verbose]}
vivado::document report_timing_summary {UG835 2023.1} {[-check_timing_verbose] [-delay_type <arg>] [-no_detailed_paths] [-setup] [-hold]
    [-max_paths <arg>] [-nworst <arg>] [-unique_pins] [-path_type <arg>] [-no_reused_label] [-input_pins] [-no_pr_attribute] [-no_pblock]
    [-routable_nets] [-slack_lesser_than <arg>] [-report_unconstrained] [-significant_digits <arg>] [-no_header] [-file <arg>] [-append]
    [-name <arg>] [-return_string] [-warn_on_violation] [-datasheet] [-cells <args>] [-rpx <arg>] [-quiet] [-verbose]}
vivado::document report_route_status {UG835 2023.1} {[-return_nets] [-return_string] [-file <arg>] [-append] [-of_objects <args>] [-route_type <arg>]
    [-list_all_nets] [-show_all] [-dump_routes] [-has_routing] [-boolean_check <arg>] [-ignore_cache] [-to_load <args>] [-quiet] [-verbose]}

# Constraints.
vivado::document create_clock {UG835 by quotation} {-period <arg> [-name <arg>] [-waveform <args>] [-add] [-quiet] [-verbose] [<objects>]}
vivado::document get_ports {UG835 by quotation} {[-regexp] [-nocase] [-filter <arg>] [-of_objects <args>] [-match_style <arg>] [-scoped_to_current_instance] [-no_traverse] [-prop_thru_buffers] [-quiet] [-verbose] [<patterns>]}
vivado::document get_cells {UG835 by quotation} {[-hsc <arg>] [-hierarchical] [-regexp] [-nocase] [-filter <arg>] [-of_objects <args>] [-match_style <arg>] [-include_replicated_objects] [-quiet] [-verbose] [<patterns>]}
vivado::document create_pblock {UG835 2022.1} {[-quiet] [-verbose] <name>}
vivado::document get_pblocks {UG835 by quotation} {[-regexp] [-nocase] [-filter <arg>] [-of_objects <args>] [-include_nested_pblocks] [-quiet] [-verbose] [<patterns>]}
# The page names SLICE, DSP48, RAMB18, RAMB36 and CLOCKREGION as ranges. SLR0, DSP48E2 and URAM288 as ranges are the habit of public designs for
# large parts.
vivado::document resize_pblock {UG835 2022.2} {[-add <args>] [-remove <args>] [-from <args>] [-to <args>] [-replace] [-locs <arg>] [-quiet] [-verbose] <pblock>}
vivado::document add_cells_to_pblock {UG835 2023.1} {[-top] [-add_primitives] [-clear_locs] [-quiet] [-verbose] <pblock> [<cells>...]}

# IP packaging. UG835 has no pages for ipx::. The syntax of associate_bus_interfaces is Vivado's help text as issue 837 of
# analogdevicesinc/hdl quotes it. The others are as scripts use them that others run in Vivado, no option beyond those is here:
# FINN+ 1.6.1 (create_stitched_ip.py, templates.py), get_memory_maps and -of_objects in analogdevicesinc/hdl.
namespace eval ipx {}
vivado::document ipx::package_project {FINN+ 1.6.1} {[-root_dir <arg>] [-vendor <arg>] [-library <arg>] [-taxonomy <arg>] [-module <arg>] [-import_files]}
vivado::document ipx::current_core {FINN+ 1.6.1} {}
vivado::document ipx::get_bus_interfaces {FINN+ 1.6.1} {[-of_objects <args>] [<patterns>]}
vivado::document ipx::infer_bus_interface {FINN+ 1.6.1} {<ports> <kind> <core>}
vivado::document ipx::associate_bus_interfaces {help text} {[-busif <arg>] -clock <arg> [-reset <arg>] [-clear] [-quiet] [-verbose] [<core>]}
vivado::document ipx::get_memory_maps {analogdevicesinc/hdl} {[-of_objects <args>] [<patterns>]}
vivado::document ipx::add_memory_map {FINN+ 1.6.1} {<name> <core>}
vivado::document ipx::add_address_block {FINN+ 1.6.1} {<name> <map>}
vivado::document ipx::create_xgui_files {FINN+ 1.6.1} {<core>}
vivado::document ipx::update_checksums {FINN+ 1.6.1} {<core>}
vivado::document ipx::save_core {FINN+ 1.6.1} {<core>}

# What the commands do here: files have to be there, cells and ports in the netlist, steps in their order.
proc vivado::need_files {paths} {
    foreach path $paths {
        if {![file isfile $path]} {
            error "$path does not exist"
        }
    }
}

proc vivado::need {what} {
    variable state
    if {!$state($what)} {
        error "no design is $what"
    }
}

proc vivado::do_read_verilog {given rest} {
    variable state
    foreach files $rest {
        need_files $files
        lappend state(read) {*}$files
    }
}

proc vivado::do_read_mem {given rest} {
    foreach files $rest {
        need_files $files
        foreach path $files {
            if {[lsearch {.mem .coe .dat} [file extension $path]] < 0} {
                error "read_mem reads MEM, DAT and COE files, not $path"
            }
        }
    }
}

proc vivado::do_add_files {given rest} {
    variable state
    foreach files $rest {
        need_files $files
        lappend state(read) {*}$files
    }
}

# Constraints are kept until there is a netlist, as in Vivado.
proc vivado::do_read_xdc {given rest} {
    variable state
    need_files $rest
    lappend state(constraints) [lindex $rest 0]
    if {$state(synthesised)} {
        constrain
    }
}

proc vivado::constrain {} {
    variable state
    set waiting $state(constraints)
    set state(constraints) {}
    foreach path $waiting {
        uplevel #0 [list source $path]
    }
}
set vivado::state(constraints) {}

proc vivado::do_synth_design {given rest} {
    variable state
    if {![llength $state(read)] || ![dict exists $given -top] || ![dict exists $given -part]} {
        error "synth_design: no sources, no top or no part"
    }
    foreach {option values} {-mode {default out_of_context} -flatten_hierarchy {full none rebuilt}} {
        if {[dict exists $given $option] && [lsearch -exact $values [dict get $given $option]] < 0} {
            error "synth_design $option is one of $values, not [dict get $given $option]"
        }
    }
    set state(synthesised) 1
    constrain
}

proc vivado::do_open_checkpoint {given rest} {
    variable state
    need_files $rest
    set state(synthesised) 1
}

proc vivado::do_write_checkpoint {given rest} {
    need synthesised
    if {[file exists [lindex $rest 0]] && ![dict exists $given -force]} {
        error "[lindex $rest 0] exists"
    }
    close [open [lindex $rest 0] w]
}

proc vivado::do_place_design {given rest} {
    need synthesised
}

proc vivado::do_route_design {given rest} {
    need synthesised
}

proc vivado::do_get_cells {given rest} {
    return [found cells $rest]
}

proc vivado::do_get_ports {given rest} {
    return [found ports $rest]
}

proc vivado::do_get_pblocks {given rest} {
    return [found pblocks $rest]
}

proc vivado::found {kind names} {
    variable state
    need synthesised
    set found {}
    foreach name $names {
        if {[lsearch -exact $state($kind) $name] >= 0} {
            lappend found $name
        }
    }
    return $found
}

proc vivado::do_create_clock {given rest} {
    if {![dict exists $given -period] || ![llength [lindex $rest 0]]} {
        error "create_clock: no period or no port"
    }
}

proc vivado::do_create_pblock {given rest} {
    variable state
    lappend state(pblocks) [lindex $rest 0]
}

proc vivado::do_resize_pblock {given rest} {
    foreach range [dict get $given -add] {
        if {![regexp {^SLR\d+$|^(SLICE|DSP48E2|RAMB36|URAM288)_X\d+Y\d+:\1_X\d+Y\d+$} $range]} {
            error "resize_pblock: $range is no range"
        }
    }
    if {![llength [lindex $rest 0]]} {
        error "resize_pblock: no such Pblock"
    }
}

proc vivado::do_add_cells_to_pblock {given rest} {
    if {![llength [lindex $rest 0]] || ![llength [lindex $rest 1]]} {
        error "add_cells_to_pblock: no such Pblock, or no such cell"
    }
}

proc vivado::do_create_project {given rest} {
    variable state
    if {[file exists [lindex $rest 1]] && ![dict exists $given -force]} {
        error "project [lindex $rest 1] exists"
    }
    file mkdir [lindex $rest 1]
    set state(project) 1
}

proc vivado::do_current_fileset {given rest} {
    return sources_1
}

proc vivado::do_ipx_package_project {given rest} {
    variable state
    need project
    file mkdir [dict get $given -root_dir]
}

proc vivado::do_ipx_current_core {given rest} {
    return core
}

proc vivado::do_ipx_get_bus_interfaces {given rest} {
    variable state
    return [expr {[lsearch -exact $state(interfaces) [lindex $rest 0]] >= 0 ? [lindex $rest 0] : {}}]
}

# Ports <interface>_<signal> make an interface of that name; a clock or reset has the name of its port.
proc vivado::do_ipx_infer_bus_interface {given rest} {
    variable state
    lassign $rest ports kind core
    foreach port $ports {
        if {[lsearch -exact $state(ports) $port] < 0} {
            error "no port $port"
        }
    }
    set name [lindex $ports 0]
    if {[llength $ports] > 1} {
        set name [join [lrange [split $name _] 0 end-1] _]
    }
    lappend state(interfaces) $name
}

proc vivado::do_ipx_associate_bus_interfaces {given rest} {
    variable state
    foreach option {-busif -clock -reset} {
        if {[lsearch -exact $state(interfaces) [dict get $given $option]] < 0} {
            error "no interface [dict get $given $option]"
        }
    }
}

proc vivado::do_ipx_get_memory_maps {given rest} {
    variable state
    return [expr {[lsearch -exact $state(maps) [lindex $rest 0]] >= 0 ? [lindex $rest 0] : {}}]
}

proc vivado::do_ipx_add_memory_map {given rest} {
    variable state
    lappend state(maps) [lindex $rest 0]
    return [lindex $rest 0]
}

proc vivado::do_ipx_add_address_block {given rest} {
    variable state
    if {[lsearch -exact $state(maps) [lindex $rest 1]] < 0} {
        error "no memory map [lindex $rest 1]"
    }
    return block
}
