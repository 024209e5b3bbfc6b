// As much of React as a hook needs, for a test page: `mount(component, props)`.
//
// Effects run after a rendering, those whose dependencies changed, after the clean-up of the one
// before; a state that is set renders again; `strict` tries each effect out first, as React does.

let root = null;

export function useState(initial) {
  const { root: own, cell } = next(() => ({ value: initial }));
  cell.set ??= (value) => {
    cell.value = value;
    if (own.mounted) queueMicrotask(own.render);
  };
  return [cell.value, cell.set];
}

export function useRef(initial) {
  return next(() => ({ current: initial })).cell;
}

export function useEffect(effect, dependencies) {
  const { root: own, cell } = next(() => ({ dependencies: null, undo: null, fresh: true }));
  const same = dependencies?.every((value, index) => Object.is(value, cell.dependencies?.[index]));
  if (same && cell.dependencies) return;
  cell.dependencies = dependencies;
  own.effects.push(() => {
    cell.undo?.();
    cell.undo = effect();
    if (own.strict && cell.fresh) {
      cell.undo?.();
      cell.undo = effect();
    }
    cell.fresh = false;
  });
}

function next(make) {
  root.cells[root.at] ??= make();
  return { root, cell: root.cells[root.at++] };
}

export function mount(component, props, strict = false) {
  const own = { cells: [], effects: [], at: 0, mounted: true, strict };
  own.render = () => {
    if (!own.mounted) return;
    [root, own.at] = [own, 0];
    component(props);
    root = null;
    for (const effect of own.effects.splice(0)) effect();
  };
  own.render();
  return {
    update: (changed) => {
      props = changed;
      own.render();
    },
    unmount: () => {
      own.mounted = false;
      for (const cell of own.cells) cell.undo?.();
    },
  };
}
