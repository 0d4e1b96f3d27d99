"""How the demo looks, besides Gradio's own style."""

__all__ = ["STYLE"]

STYLE = """
#controls { align-items: stretch; }
table.classes {
  width: 100%; border-collapse: collapse; font-size: .95rem; color: var(--body-text-color); margin: 0;
}
table.classes caption { text-align: left; padding: .25rem 0 .5rem; color: var(--body-text-color); }
.prose table.classes, .prose table.classes :is(th, td, tr) { border: 0; }
.prose table.classes th { text-align: left; font-weight: 600; padding: .2rem .4rem; background: none; }
.prose table.classes td { padding: .2rem .4rem; white-space: nowrap; color: inherit; }
.prose table.classes td:first-child { white-space: normal; overflow-wrap: anywhere; }
.prose table.classes tbody tr { border-top: 1px solid var(--border-color-primary); }
.prose table.classes :is(th, td):last-child:not(.share) { text-align: right; }
table.classes .swatch {
  display: inline-block; width: .9em; height: .9em; margin-right: .5em; border-radius: 2px; vertical-align: -.08em;
  outline: 1px solid var(--body-text-color-subdued);
}
table.classes td.share { position: relative; width: 45%; }
table.classes .bar {
  position: absolute; inset: .25rem auto .25rem 0; background: var(--color-accent); opacity: .3; border-radius: 3px;
}
table.classes td.share span:last-child { position: relative; }
@media (max-width: 640px) {
  :is(#image, #overlay, #both, #confidence, #uncertainty, #camera, #live, #video, #segmented) {
    height: 300px !important;
  }
}
"""
