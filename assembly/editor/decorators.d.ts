// What the type checker wants of @inline and @unmanaged; AssemblyScript's own library does not declare it.
type ClassDecoratorContext = {};
type ClassFieldDecoratorContext = {};
type ClassGetterDecoratorContext = {};
type ClassMethodDecoratorContext = {};
type ClassSetterDecoratorContext = {};
