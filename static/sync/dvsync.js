"use strict";
// What the pages gain from a script; without it all of them work.
