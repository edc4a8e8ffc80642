// A cover point as an assertion that fails in the cycle in which the point is reached.
(* techmap_celltype = "$cover" *)
module cover_as_assert (input A, input EN);
    \$assert _TECHMAP_REPLACE_ (.A(~A), .EN(EN));
endmodule
